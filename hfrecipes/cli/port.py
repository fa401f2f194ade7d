"""`hfrecipes port`: a TRL or alignment-handbook configuration turned into a recipe."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_EPILOG = """\
Every key is carried over, said in other words, or listed at the end of the recipe with the reason why it is gone; an unknown
key is an error, and so is a value that cannot be said. What was not carried over as it stood is told on standard error.

  hfrecipes port sft_config.yaml                     print the recipe
  hfrecipes port sft_config.yaml --output my.yaml    write it
  hfrecipes check my.yaml                            then see what else there is to know
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "port",
        help="turn a TRL or alignment-handbook configuration into a recipe",
        description="Turn the YAML of `trl sft --config`, or of alignment-handbook's SFT, into a recipe.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path, metavar="OLD.yaml", help="the configuration to translate")
    parser.add_argument(
        "--output", type=Path, metavar="F", help="write the recipe to this file, which must not exist yet"
    )
    parser.set_defaults(command=port)


def port(args: argparse.Namespace) -> int:
    """Prints or writes the translation."""
    from hfrecipes.recipe.port import port_file
    from hfrecipes.recipe.problem import Problem, RecipeError

    ported = port_file(args.old, args.output.stem if args.output else None)
    if args.output is None and ported.files:
        fault = f"the recipe needs {', '.join(ported.files)} beside it"
        raise RecipeError(Problem(str(args.old), fault, "give --output F, and it is written there"))
    for note in ported.notes:
        print(note, file=sys.stderr)
    if args.output is None:
        sys.stdout.write(ported.text)
        return 0
    _write(args.output, {args.output.name: ported.text, **ported.files})
    print(f"wrote {', '.join([str(args.output), *ported.files])}", file=sys.stderr)
    return 0


def _write(output: Path, files: dict[str, str]) -> None:
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.rundir import write_atomically

    for name, text in files.items():
        path = output.with_name(name)
        if path.exists():
            raise RecipeError(Problem("--output", f"{path} exists", "give another name, or remove it"))
        try:
            write_atomically(path, text)
        except OSError as error:
            raise RecipeError(
                Problem("--output", f"{path} cannot be written: {error.strerror}", "give another file")
            ) from None
