"""From the rows of a source to examples, as a recipe says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hfrecipes.data.faults import map_rows
from hfrecipes.data.formats import Example, function_fingerprint, load_function, to_examples
from hfrecipes.data.row import Row, Source
from hfrecipes.data.settings import text_column
from hfrecipes.data.templates import shipped_templates
from hfrecipes.recipe.loader import Recipe


def read_examples(recipe: Recipe, role: str, index: int, source: Source) -> Iterator[tuple[Row, Example]]:
    """Rows of the source at `data.<role>.<index>` and the examples they make, lazily; a row of a ranking makes several.

    Raises:
        RecipeError: the `format` function cannot be loaded; else at the first row that cannot be used, saying how many have the
            same fault.
    """
    key, said = recipe.sources(role)[index]
    spec = text_column(recipe, said)
    if spec.get("format"):
        load_function(spec["format"], recipe.path.parent, recipe.where(f"{key}.format"))
    for row, examples in map_rows(
        lambda row: to_examples(row.values, spec, row.where, recipe.path.parent), source.rows()
    ):
        yield from ((row, example) for example in examples)


def examples_fingerprint(recipe: Recipe, spec: dict[str, Any], source: Source, where: str) -> list[Any]:
    """Changes with all that decides the examples of a source: its words and content, splits, functions, shipped templates.

    Args:
        recipe: The recipe.
        spec: What it says of the source.
        source: The same, opened.
        where: Its place in the recipe, for problems.

    Raises:
        RecipeError: the `format` function cannot be loaded.
    """
    spec = text_column(recipe, spec)
    function, templates = spec.get("format"), spec.get("templates")
    code = function_fingerprint(function, recipe.path.parent, where) if function else None
    shipped = shipped_templates()[templates] if isinstance(templates, str) else None
    # The revision is that of all rows: which of them are in the split is said for the whole recipe.
    splits = recipe.get("data.splits") if spec.get("split") else None
    return [spec, source.revision, splits, code, shipped]
