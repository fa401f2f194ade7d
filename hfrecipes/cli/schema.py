"""`hfrecipes schema`: the JSON Schema of recipes, for editors."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_EPILOG = """\
An editor with the YAML language server completes keys, shows what they mean and marks typos as you write:

  hfrecipes schema --output recipe.schema.json

and, as the first line of a recipe:

  # yaml-language-server: $schema=recipe.schema.json

The schema is that of the installed transformers, trl and peft: write it again when they change.
"""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Adds the verb."""
    parser = subparsers.add_parser(
        "schema",
        help="the JSON Schema of recipes, for editors",
        description="Print the JSON Schema of recipes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, metavar="F", help="write it to this file instead")
    parser.set_defaults(command=schema)


def schema(args: argparse.Namespace) -> int:
    """Prints or writes the schema."""
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.rundir import write_atomically
    from hfrecipes.recipe.schema import dump_schema, load_schema

    text = dump_schema(load_schema())
    if args.output is None:
        sys.stdout.write(text)
        return 0
    try:
        write_atomically(args.output, text)
    except OSError as error:
        fault = f"{args.output} cannot be written: {error.strerror}"
        raise RecipeError(Problem("--output", fault, "give another file")) from None
    return 0
