"""`hfrecipes data VERB`: what is done with data before a model sees it. Each verb has a file of its own."""

from __future__ import annotations

import argparse
import importlib

# In the order in which a person meets them. Each module `data_<verb>` has `add_parser(subparsers)`.
VERBS = ("sources", "clean", "classifier", "preview")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "data", help="find, clean and look at data", description="Find data, and work with that of a recipe."
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    for verb in VERBS:
        importlib.import_module(f"hfrecipes.cli.data_{verb}").add_parser(verbs)
