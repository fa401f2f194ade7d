"""`hfrecipes data preview`: the rows that a recipe trains on, as the model will see them."""

from __future__ import annotations

import argparse

_EPILOG = """\
Rows pass through the same functions that prepare the training data, so what is shown is what trains. Tokens that carry loss
are bold and green; in a pipe, or with NO_COLOR set, they stand between 【 and 】.

  hfrecipes data preview my.yaml
  hfrecipes data preview my.yaml training.assistant_only_loss=true --rows 5 | less
"""


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "preview",
        help="rows as the model will see them, with the tokens that carry loss marked",
        description="Show training rows as the model will see them, with the tokens that carry loss marked.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a YAML file, or the name of a shipped recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to set, by dotted key")
    parser.add_argument("--rows", type=int, default=3, metavar="N", help="rows of each source (default: 3)")
    parser.set_defaults(command=preview)


def preview(args: argparse.Namespace) -> int:
    from rich.console import Console

    from hfrecipes.cli.plan import show_rows
    from hfrecipes.recipe.hardware import detect_hardware
    from hfrecipes.recipe.loader import load_recipe
    from hfrecipes.recipe.problem import Problem, RecipeError
    from hfrecipes.recipe.resolve import resolve

    recipe = load_recipe(args.recipe, args.overrides)
    if recipe.kind == "pipeline":
        fix = "preview the recipe of one step"
        raise RecipeError(Problem(recipe.where("kind"), "a pipeline has no data of its own", fix))
    show_rows(Console(), resolve(recipe, detect_hardware()), args.rows)
    return 0
