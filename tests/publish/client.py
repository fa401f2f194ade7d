"""Our verbs in a process of their own, the way `hfrecipes` calls them: the client reads its environment at import."""

from __future__ import annotations

import argparse
import importlib
import sys

from hfrecipes.recipe.problem import RecipeError


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers(required=True)
    for verb in ("publish", "report", "card"):
        importlib.import_module(f"hfrecipes.cli.{verb}").add_parser(subparsers)
    args = parser.parse_args(arguments)
    try:
        return args.command(args)
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
