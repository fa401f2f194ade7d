"""`hfrecipes check`: every problem of a recipe at once, none of them by running it."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from hfrecipes.recipe.problem import Problem, RecipeError

EXAMPLES = """\
examples:
  hfrecipes check mine.yaml                              words, files, columns, tokenizer, lengths, launch
  hfrecipes check mine.yaml training.max_length=2048     with an override
  hfrecipes check mine.yaml --words                      the words alone, in a moment
  hfrecipes check mine.yaml --num-processes 8            as it would be launched
  hfrecipes check mine.yaml --publish                    what stands in the way of publishing is an error, too
  hfrecipes check mine.yaml --json | jq '.[].message'    for programs

Each problem is one line: place, severity, fault, and how to mend it. An error stops a run, a warning does not; unchecked
says what could not be looked at here, and why. The exit status is 2 where there is an error, else 0.
"""
_STYLES = {"error": "bold red", "warning": "yellow", "unchecked": "cyan"}
_ORDER = list(_STYLES)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "check",
        help="every problem of a recipe at once, none by running",
        description="Finds every problem of a recipe at once, without running it.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="said instead of what the recipe says")
    parser.add_argument("--words", action="store_true", help="look at the recipe's words only")
    parser.add_argument("--publish", action="store_true", help="it is to be published: what prevents that is an error")
    parser.add_argument("--num-processes", metavar="N", type=_positive, default=1, help="processes that would train it")
    parser.add_argument("--runs-dir", metavar="DIR", type=Path, default=Path("runs"), help="where runs are written")
    parser.add_argument("--json", action="store_true", help="print a JSON list of problems")
    parser.set_defaults(command=check)


def check(arguments: argparse.Namespace) -> int:
    """Prints the problems of a recipe.

    Returns:
        2 where one of them is an error, else 0.
    """
    from hfrecipes.recipe.secrets import redact

    problems = sorted(find_problems(arguments), key=lambda problem: _ORDER.index(problem.severity))
    if arguments.json:
        print(json.dumps([dataclasses.asdict(problem) for problem in problems], indent=2, ensure_ascii=False))
    else:
        show_problems(problems)
        print(redact(summary(arguments.recipe, problems)))
    return 2 if any(problem.severity == "error" for problem in problems) else 0


def find_problems(arguments: argparse.Namespace) -> list[Problem]:
    """The problems of words and, where more is asked for, those of everything else, as far as the words let them be seen."""
    from hfrecipes.recipe.loader import load_recipe

    recipe, problems = None, []
    try:
        recipe = load_recipe(arguments.recipe, arguments.overrides)
    except RecipeError as error:
        problems = error.problems
    if arguments.words:
        return problems if recipe is None else list(recipe.unchecked)
    from hfrecipes.check.check import check_recipe
    from hfrecipes.check.further import further_problems
    from hfrecipes.recipe.hardware import detect_hardware

    asked = {"publish": arguments.publish, "num_processes": arguments.num_processes, "runs_dir": arguments.runs_dir}
    if recipe is None:
        return further_problems(arguments.recipe, arguments.overrides, problems, detect_hardware(), **asked)
    return check_recipe(recipe, detect_hardware(), **asked)


def show_problems(problems: list[Problem]) -> None:
    """One line each, whatever the width of the terminal, so that editors and grep can use them."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for problem in problems:
        mend = f" ({problem.fix})" if problem.fix else ""
        severity = (f"{problem.severity}: ", _STYLES[problem.severity])
        line = Text.assemble((f"{problem.where}: ", "bold"), severity, problem.message, (mend, "dim"))
        console.print(line, soft_wrap=True)


def summary(recipe: str, problems: list[Problem]) -> str:
    """`mine.yaml: 2 errors, 1 warning`."""
    counts = {name: sum(problem.severity == name for problem in problems) for name in _ORDER}
    said = [f"{count} {name}{'s' * (count > 1 and name != 'unchecked')}" for name, count in counts.items() if count]
    if not counts["error"]:
        said.insert(0, "ready to run")
    return f"{recipe}: {', '.join(said)}"


def _positive(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return number
