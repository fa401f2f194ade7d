"""`hfrecipes show`: a shipped recipe with its comments, to read or to start from."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_EPILOG = """\
examples:
  hfrecipes show sft/qwen3-0.6b-lora              read it
  hfrecipes show sft/qwen3-0.6b-lora > my.yaml    start from it: edit, hfrecipes check my.yaml, hfrecipes run my.yaml
  hfrecipes show launchers/fsdp2 > my-fsdp2.yaml  an accelerate file to change, for hfrecipes run --launcher my-fsdp2.yaml
  hfrecipes show tour/first --path                where the file lies
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "show",
        help="a shipped recipe, with its comments",
        description="Print a shipped recipe, or a launcher file, as it stands.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="a name from hfrecipes ls, or launchers/NAME")
    parser.add_argument("--path", action="store_true", help="print where the file lies instead")
    parser.set_defaults(command=show)


def show(args: argparse.Namespace) -> int:
    """Prints the file, or its path."""
    path = find_shipped(args.name)
    if args.path:
        print(path)
    else:
        sys.stdout.write(path.read_text(encoding="utf-8"))
    return 0


def find_shipped(name: str) -> Path:
    """The file of a shipped recipe or launcher.

    Raises:
        RecipeError: where nothing of that name is shipped.
    """
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.shipped import shipped_launchers, shipped_recipes
    from hfrecipes.recipe.validate import nearest

    files = shipped_recipes() | {f"launchers/{launcher}": path for launcher, path in shipped_launchers().items()}
    if name in files:
        return files[name]
    guess = nearest(name, files)
    fix = f"did you mean {guess}?" if guess else "hfrecipes ls shows the shipped recipes"
    raise RecipeError(Problem(name, "is not a shipped recipe", fix))
