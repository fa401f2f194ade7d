"""`hfrecipes data sources`: the sources that go by a name of their own."""

from __future__ import annotations

import argparse

_EPILOG = """\
The name of a source stands for all the words that load it, and brings its licence to the card of what is trained on it:

  data: {train: [{name: fineweb-edu, limit: 100000}]}

Any other data set of the Hub goes by its id, as name: allenai/c4 with subset: en; local files by path:.

  hfrecipes data sources
  hfrecipes data sources code
"""


def add_parser(verbs: argparse._SubParsersAction) -> None:
    from hfrecipes.recipe.catalogue import CATEGORIES

    parser = verbs.add_parser(
        "sources",
        help="the sources that have a name: licence, languages, size",
        description="List the sources that a recipe can name without saying more.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "category", nargs="?", choices=CATEGORIES, metavar="CATEGORY", help=f"only these: {', '.join(CATEGORIES)}"
    )
    parser.set_defaults(command=sources)


def sources(args: argparse.Namespace) -> int:
    from rich.console import Console

    from hfrecipes.recipe.catalogue import load_catalogue
    from hfrecipes.recipe.catalogue_table import catalogue_table

    entries = {name: entry for name, entry in load_catalogue().items() if args.category in (None, entry.category)}
    Console().print(catalogue_table(entries))
    return 0
