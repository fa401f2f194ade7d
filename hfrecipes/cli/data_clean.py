"""`hfrecipes data clean`: a recipe's cleaning rules applied to its training data, and what they did."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfrecipes.data.clean.engine import Cleaned
    from hfrecipes.recipe.loader import Recipe
    from hfrecipes.tokenization.tokenizer import Tokenizer

_EPILOG = """\
The rules are those of the recipe, applied in their order to all of data.train at once, so that duplicates are found across
sources; training documents that share text with data.eval or data.test are left out at the end, unless the recipe says
{rule: decontaminate, enabled: false}. hfrecipes schema lists the rules and their words.

  data:
    train: [{path: web.jsonl}]
    eval: [{path: questions.jsonl}]
    clean:
      - {rule: gopher_quality, profile: en}
      - {rule: dedup_minhash, threshold: 0.7}
      - {rule: pii}

What is cleaned stays in the cache, where hfrecipes run finds it. Interrupted or killed, the same command goes on where it was,
and gives the same bytes, whatever the number of workers.

  hfrecipes data clean my.yaml --workers 8
  hfrecipes data clean my.yaml data.train.0.limit=1000             what would the rules do? on an even sample of 1000 rows
  hfrecipes data clean my.yaml --out cleaned                       cleaned/train/*.jsonl, cleaned/report.md and report.json
  hfrecipes data clean my.yaml --workers 200 --executor slurm --executor-option partition=cpu --executor-option time=08:00:00

With --executor datatrove, slurm or ray the same tasks run under datatrove's executors (pip install 'hfrecipes[clean]'); the
cache, HFRECIPES_CACHE, is then on a disk that all machines share, and --executor-option is any word of datatrove's class.

exit status:
  0        cleaned, or submitted to Slurm
  1        a failure of the system
  2        the recipe, its data or the command line cannot be used; a rule failed; no document is left
  75       a signal ended it: the same command goes on"""


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "clean",
        help="apply the recipe's cleaning rules, and say what each left out and why",
        description="Apply the rules under data.clean to a recipe's training data, and say what each left out and why.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to set, by dotted key")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write what is left as JSON Lines, and the report, into this folder"
    )
    parser.add_argument(
        "--workers", type=_positive, default=1, metavar="N", help="processes, or tasks of an executor (default: 1)"
    )
    parser.add_argument(
        "--executor",
        choices=("local", "datatrove", "slurm", "ray"),
        default="local",
        help="what runs the tasks: this program (default), or datatrove on this machine, on Slurm, on Ray",
    )
    parser.add_argument(
        "--executor-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a word of datatrove's executor, as in partition=cpu or mem_per_cpu_gb=4; may be said several times",
    )
    parser.set_defaults(command=clean)


def clean(args: argparse.Namespace) -> int:
    from hfrecipes.check.hub import stay_offline
    from hfrecipes.recipe.loader import load_recipe
    from hfrecipes.recipe.problem import Problem, RecipeError

    recipe = load_recipe(args.recipe, args.overrides)
    if recipe.kind == "pipeline":
        fix = "clean the data of one step's recipe"
        raise RecipeError(Problem(recipe.where("kind"), "a pipeline has no data of its own", fix))
    if not isinstance(recipe.get("data.clean"), list):
        fix = "add rules, as in data: {clean: [{rule: gopher_quality}, {rule: dedup_exact}]}"
        raise RecipeError(Problem(recipe.where("data"), "data.clean names no rules", fix))
    options = _options(args.executor_option)
    if options and args.executor == "local":
        fix = "say --executor datatrove, slurm or ray too"
        raise RecipeError(Problem("--executor-option", "is for datatrove's executors", fix))
    stay_offline(recipe)
    refuse_unfit(recipe)
    if args.executor == "slurm":
        return _submit(args, recipe, options)
    if args.out is not None:
        from hfrecipes.data.clean.export import refuse_unwritable

        refuse_unwritable(args.out)  # before the hours that cleaning can take
    cleaned = _clean(args, recipe, options)
    return _tell(args, cleaned)


def refuse_unfit(recipe: Recipe) -> None:
    """Says before any row is read what would stop a rule or method later, such as a model that is not there.

    Raises:
        RecipeError: with all of it.
    """
    from hfrecipes.check.refinement import refinement_problems
    from hfrecipes.recipe.problem import RecipeError

    if errors := [problem for problem in refinement_problems(recipe) if problem.severity == "error"]:
        raise RecipeError(errors)


def _clean(args: argparse.Namespace, recipe: Recipe, options: dict[str, Any]) -> Cleaned:
    from hfrecipes.callbacks.signals import catch_signals
    from hfrecipes.data.clean import engine
    from hfrecipes.recipe.stops import InterruptedRunError

    executor = None
    if args.executor != "local":
        from hfrecipes.data.clean.executors import make_executor

        executor = make_executor(args.executor, args.workers, options)
    with catch_signals():
        try:
            return engine.clean(recipe, workers=args.workers, tokenizer=_tokenizer(recipe), executor=executor)
        except KeyboardInterrupt as error:
            place = "".join(f", {note}" for note in getattr(error, "__notes__", []))
            message = f"cleaning was interrupted{place}; what is done is kept, and the same command goes on from there"
            raise InterruptedRunError(message) from None


def _tell(args: argparse.Namespace, cleaned: Cleaned) -> int:
    from rich.console import Console

    from hfrecipes.data.clean.export import export
    from hfrecipes.data.clean.report_text import print_report

    console = Console()
    print_report(console, cleaned.report)
    for warning in cleaned.warnings:
        console.print(f"! {warning}", markup=False, highlight=False, soft_wrap=True)
    if args.out is not None:
        files = export(cleaned, args.out)
        for file in (*files, args.out / "report.md", args.out / "report.json"):
            console.print(f"wrote {file}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _submit(args: argparse.Namespace, recipe: Recipe, options: dict[str, Any]) -> int:
    from hfrecipes.data.clean.executors import submit
    from hfrecipes.recipe.problem import Problem, RecipeError

    if args.out is not None:
        fix = "leave it out here, and say it with --executor local when the jobs have ended"
        raise RecipeError(Problem("--out", "nothing is cleaned yet when the jobs are submitted", fix))
    logs = submit(recipe, "train", args.workers, _tokenizer(recipe), options)
    print(f"submitted; logs in {logs}\nwhen the jobs have ended, hfrecipes data clean {args.recipe} shows the report")
    return 0


def _tokenizer(recipe: Recipe) -> Tokenizer | None:
    """Counts tokens for the report; None where it is not to be had yet."""
    from hfrecipes.plan.counts import ready_tokenizer
    from hfrecipes.tokenization.tokenizer import OfflineError

    try:
        return ready_tokenizer(recipe)
    except OfflineError:
        return None


def _options(said: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` as words of a class: numbers, booleans and mappings as YAML has them.

    Raises:
        RecipeError: for one that is not `KEY=VALUE`.
    """
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.yaml_reader import parse_yaml

    options = {}
    for text in said:
        key, equals, value = text.partition("=")
        if not key or not equals:
            fix = "write it like partition=cpu"
            raise RecipeError(Problem(f"--executor-option {text}", "is not KEY=VALUE", fix))
        options[key], _ = parse_yaml(value, f"--executor-option {text}")
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number from 1")
    return int(text)
