"""From the rows of a source to examples, as a recipe says."""

from __future__ import annotations

from collections.abc import Iterator

from hfrecipes.data.faults import map_rows
from hfrecipes.data.formats import Example, to_examples
from hfrecipes.data.row import Row, Source
from hfrecipes.data.settings import text_column
from hfrecipes.recipe.loader import Recipe


def read_examples(recipe: Recipe, role: str, index: int, source: Source) -> Iterator[tuple[Row, Example]]:
    """Rows of the source at `data.<role>.<index>` and the examples they make, lazily; a row of a ranking makes several.

    Raises:
        RecipeError: at the first row that cannot be used, saying how many have the same fault.
    """
    spec = text_column(recipe, recipe.sources(role)[index][1])
    for row, examples in map_rows(
        lambda row: to_examples(row.values, spec, row.where, recipe.path.parent), source.rows()
    ):
        yield from ((row, example) for example in examples)
