"""`hfrecipes data preview`: the rows that a recipe trains on, as the model will see them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from hfrecipes.data.clean.engine import Cleaned
    from hfrecipes.data.mixture.schedule import MixtureSchedule
    from hfrecipes.plan.sample import SampledSource
    from hfrecipes.recipe.loader import Recipe
    from hfrecipes.tokenization.tokenizer import Tokenizer

_EPILOG = """\
Rows pass through the same functions that prepare the training data, cleaning and augmentation included, so what is
shown is what trains. Tokens that carry loss are bold and green; in a pipe, or with NO_COLOR set, they stand between
【 and 】. Below the rows stand how long they are, how much of each kind of row carries loss, what cleaning left out, and of
data.mixture the share of each source as the training goes on, its epochs, and how many of its tokens are read again.
Lengths, kinds and shares go by an even sample of 200 rows of each source.

  hfrecipes data preview my.yaml
  hfrecipes data preview my.yaml training.assistant_only_loss=true --rows 5 | less
  hfrecipes data preview my.yaml --plot preview.png
"""


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "preview",
        help="rows as the model will see them, with the tokens that carry loss marked",
        description="Show training rows as the model will see them, with the tokens that carry loss marked.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to set, by dotted key")
    parser.add_argument("--rows", type=_count, default=3, metavar="N", help="rows of each source (default: 3)")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw lengths, kinds, shares and what was left out: .png or .svg"
    )
    parser.set_defaults(command=preview)


def preview(args: argparse.Namespace) -> int:
    from rich.console import Console

    from hfrecipes.cli.data_clean import refuse_unfit
    from hfrecipes.data.refine import Refinery
    from hfrecipes.models.recipe_tokenizer import extends, names_tokens
    from hfrecipes.plan.counts import ready_tokenizer, unchecked
    from hfrecipes.plan.new_pieces import print_new_pieces
    from hfrecipes.plan.preview import print_texts
    from hfrecipes.plan.render import print_problems
    from hfrecipes.plan.sample import sample_sources
    from hfrecipes.recipe.hardware import detect_hardware
    from hfrecipes.recipe.loader import load_recipe
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.resolve import resolve
    from hfrecipes.tokenization.tokenizer import OfflineError

    recipe = load_recipe(args.recipe, args.overrides)
    if recipe.kind == "pipeline":
        fix = "preview the recipe of one step"
        raise RecipeError(Problem(recipe.where("kind"), "a pipeline has no data of its own", fix))
    if args.plot is not None:
        from hfrecipes.plan.picture import ENDINGS

        if args.plot.suffix.lower() not in ENDINGS:
            fix = f"say {args.plot.with_suffix('.png')}"
            raise RecipeError(Problem("--plot", f"a picture ends in {' or '.join(ENDINGS)}", fix))
        if args.plot.is_dir() or not args.plot.parent.is_dir():
            fault = "is a folder" if args.plot.is_dir() else "lies in a folder that does not exist"
            raise RecipeError(Problem("--plot", f"{args.plot} {fault}", "name a file in a folder that exists"))
    refuse_unfit(recipe)
    recipe, console, refinery = resolve(recipe, detect_hardware()), Console(), Refinery(recipe)
    try:
        sampled = sample_sources(recipe, refinery=refinery)
    except OfflineError as error:
        print_problems(console, unchecked(error))
        return 0
    try:
        if extends(recipe) and not names_tokens(recipe):
            print_new_pieces(console, recipe)
        tokenizer = ready_tokenizer(recipe)
    except OfflineError as error:
        print_texts(console, recipe, sampled, args.rows)
        print_problems(console, unchecked(error))
        return 0
    _show(console, recipe, sampled, tokenizer, args, refinery.cleaned)
    told = [] if refinery.cleaned is None else refinery.cleaned.report["warnings"]
    for warning in (warning for warning in refinery.warnings if warning not in told):
        console.print(f"! {warning}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _show(
    console: Console,
    recipe: Recipe,
    sampled: list[SampledSource],
    tokenizer: Tokenizer | None,
    args: argparse.Namespace,
    cleaned: Cleaned | None,
) -> None:
    from hfrecipes.data.clean.report_text import left_out_by_rule, print_report
    from hfrecipes.plan.counts import plan_tokenizer
    from hfrecipes.plan.histogram import print_histograms
    from hfrecipes.plan.kinds import print_kinds, supervised_by_kind
    from hfrecipes.plan.lengths import source_lengths
    from hfrecipes.plan.mixture import mixture_facts
    from hfrecipes.plan.mixture_table import print_mixture
    from hfrecipes.plan.picture import draw_preview
    from hfrecipes.plan.preview import preview_sources, print_previews, print_texts

    limit = None if recipe.kind == "pretrain" else recipe.get("training.max_length")
    dropped = {} if cleaned is None else left_out_by_rule(cleaned.report)
    if tokenizer is None:
        console.print(
            "\nThe tokenizer is trained when the recipe first runs; until then, rows are shown as text, and lengths "
            "are those of a tokenizer that is trained on a sample."
        )
        print_texts(console, recipe, sampled, args.rows)
        tokenizer = plan_tokenizer(recipe)
    else:
        print_previews(console, preview_sources(recipe, sampled, tokenizer, args.rows), limit)
    parts, kinds = source_lengths(recipe, sampled, tokenizer), supervised_by_kind(recipe, sampled, tokenizer)
    print_histograms(console, parts, limit)
    print_kinds(console, kinds)
    mixed = _mixed(recipe, sampled, tokenizer)
    if mixed is not None:
        print_mixture(console, mixed, estimated=True)
    if args.plot is not None:
        shares = None if mixed is None else mixture_facts(mixed)
        draw_preview(args.plot, parts, limit, kinds, dropped, recipe.name, shares)
        console.print(f"\nwrote {args.plot}", markup=False, highlight=False)
    if cleaned is not None:
        console.print()
        print_report(console, cleaned.report)


def _mixed(recipe: Recipe, sampled: list[SampledSource], tokenizer: Tokenizer) -> MixtureSchedule | None:
    """The mixture as the plan has it, of the rows that cleaning leaves."""
    from hfrecipes.plan.counts import estimate_sampled
    from hfrecipes.plan.plan import make_plan
    from hfrecipes.recipe.hardware import detect_hardware

    if recipe.get("data.mixture") is None:
        return None
    counts = estimate_sampled(recipe, sampled, tokenizer, tokenizer.vocab_size)
    return make_plan(recipe, detect_hardware(), data_counts=counts).mixture


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 0")
    return int(text)
