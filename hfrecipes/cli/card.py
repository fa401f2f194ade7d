"""`hfrecipes card lint`: check a model card without the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfrecipes.recipe.rundir import RunDir

_LINT_EPILOG = """\
Checked: the YAML header and its licence, the sections, placeholders such as None, paths of one machine, tokens; and,
beside a run.json, that every figure of the evaluation is the one that was measured. Exit status 2 on an error.

  hfrecipes card lint runs/my-run
  hfrecipes card lint README.md
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser("card", help="check a model card", description="Work with model cards.")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    lint = verbs.add_parser(
        "lint",
        help="check a card without the Hub",
        description="Check a model card without the network.",
        epilog=_LINT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    lint.add_argument("path", type=Path, metavar="PATH", help="a run directory, or a README.md")
    lint.set_defaults(command=lint_path)


def lint_path(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from hfrecipes.publish.lint import lint_card
    from hfrecipes.publish.reading import facts_of, read_card
    from hfrecipes.recipe.rundir import RunDir
    from hfrecipes.recipe.secrets import redact
    from hfrecipes.recipe.visible import visible

    run = RunDir(args.path if args.path.is_dir() else args.path.parent)
    card = run.card if args.path.is_dir() else args.path
    _refuse_several(run, args.path)
    text = read_card(card)
    facts = facts_of(run) if run.facts_file.is_file() else None
    problems = [replace(p, where=f"{card}:{p.where.rpartition(':')[2]}") for p in lint_card(text, facts)]
    for problem in problems:
        print(visible(str(problem)))
    errors = sum(problem.severity == "error" for problem in problems)
    compared = "figures compared with run.json" if facts else "no run.json beside it: figures not compared"
    counts = f"{_number(errors, 'error')}, {_number(len(problems) - errors, 'warning')}"
    print(visible(redact(f"{card}: {counts} ({compared})")))
    return 2 if errors else 0


def _refuse_several(run: RunDir, given: Path) -> None:
    """A pipeline has no card of its own, but its steps have.

    Raises:
        RecipeError: naming the cards there are.
    """
    from hfrecipes.recipe.problem import Problem, RecipeError

    if not given.is_dir() or run.card.exists() or not run.facts_file.is_file():
        return
    folders = [run.path / step["run"] for step in run.facts().get("steps") or []]
    if folders:
        fault = f"{len(folders)} runs lie in it, each with a card of its own, and none for all"
        raise RecipeError(Problem(str(given), fault, f"give one of {', '.join(map(str, folders))}"))


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
