"""`hfrecipes plan`: what a recipe will cost, before it is started."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.console import Console

    from hfrecipes.recipe.hardware import Hardware
    from hfrecipes.recipe.loader import Recipe
    from hfrecipes.recipe.problem import Problem

_EPILOG = """\
Parameters, tokens, FLOPs, memory, hours and disk, from the model's config and a sample of the data: no weights are loaded.
≈ marks estimates; what only the Hub could tell, and is not in the cache, is listed as unchecked.

  hfrecipes plan sft/qwen3-0.6b-lora
  hfrecipes plan my.yaml training.max_length=4096 --gpu h100 --num-gpus 8
  hfrecipes plan my.yaml --no-preview --json plan.json
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "plan",
        help="what a recipe will cost: parameters, FLOPs, memory, hours",
        description="Say what a recipe will cost, and show what the model will see.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to set, by dotted key")
    parser.add_argument(
        "--gpu", metavar="NAME", help="plan for this GPU (h100, a100, l4, rtx4090, …), not this machine"
    )
    parser.add_argument("--num-gpus", type=_positive, metavar="N", help="processes, one device each (default: 1)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the plan as JSON too; - for standard output only"
    )
    parser.add_argument(
        "--rows", type=_positive, default=1, metavar="N", help="rows of each source to show (default: 1)"
    )
    parser.add_argument("--no-preview", action="store_true", help="show no rows")
    parser.set_defaults(command=plan)


def plan(args: argparse.Namespace) -> int:
    import json
    import sys

    from rich.console import Console

    from hfrecipes.check.hub import stay_offline
    from hfrecipes.plan.pipeline import plan_pipeline
    from hfrecipes.plan.plan import make_plan
    from hfrecipes.plan.render import print_pipeline, print_plan
    from hfrecipes.recipe.loader import load_recipe
    from hfrecipes.recipe.resolve import resolve

    recipe = load_recipe(args.recipe, args.overrides)
    stay_offline(recipe)
    hardware, world_size = _hardware(args.gpu), args.num_gpus or 1
    pipeline = recipe.kind == "pipeline"
    made = plan_pipeline(recipe, hardware, world_size) if pipeline else make_plan(recipe, hardware, world_size)
    facts = json.dumps(made.to_dict(), indent=2, ensure_ascii=False) + "\n"
    if args.json == Path("-"):
        sys.stdout.write(facts)
        return 0
    console = Console()
    print_pipeline(console, made) if pipeline else print_plan(console, made)
    if args.json:
        _write(args.json, facts)
    if not args.no_preview and not pipeline:
        show_rows(console, resolve(recipe, hardware, world_size), args.rows, told=made.problems)
    return 0


def show_rows(console: Console, recipe: Recipe, count: int, told: Collection[Problem] = ()) -> None:
    """Shows rows of the training data as the model will see them, or as text where there is no tokenizer.

    Args:
        console: Where to.
        recipe: A resolved recipe.
        count: Rows of each source.
        told: Problems that were printed before.
    """
    from hfrecipes.plan.counts import ready_tokenizer, unchecked
    from hfrecipes.plan.preview import preview_sources, print_previews, print_texts
    from hfrecipes.plan.render import print_problems
    from hfrecipes.plan.sample import sample_sources
    from hfrecipes.tokenization.tokenizer import OfflineError

    try:
        sampled = sample_sources(recipe)
    except OfflineError as error:
        print_problems(console, [problem for problem in unchecked(error) if problem not in told])
        return
    try:
        tokenizer = ready_tokenizer(recipe)
    except OfflineError as error:
        print_problems(console, [problem for problem in unchecked(error) if problem not in told])
    else:
        if tokenizer is not None:
            limit = None if recipe.kind == "pretrain" else recipe.get("training.max_length")
            print_previews(console, preview_sources(recipe, sampled, tokenizer, count), limit)
            return
        console.print("\nThe tokenizer is trained when the recipe first runs; until then, rows are shown as text.")
    print_texts(console, recipe, sampled, count)


def _write(path: Path, text: str) -> None:
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.rundir import write_atomically

    try:
        write_atomically(path, text)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RecipeError(Problem("--json", f"{path} cannot be written: {reason}", "give another file")) from None


def _hardware(gpu: str | None) -> Hardware:
    from hfrecipes.plan.devices import find_device
    from hfrecipes.recipe.hardware import detect_hardware

    return find_device(gpu).hardware if gpu else detect_hardware()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number
