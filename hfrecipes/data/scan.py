"""A cheap look at the rows of a source, for the checks before a run."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from hfrecipes.data.formats import to_example
from hfrecipes.data.row import Source
from hfrecipes.recipe.problem import Problem, RecipeError

_ENOUGH = 20  # problems; a file that is wrong throughout need not be listed throughout


def scan_rows(
    source: Source, spec: dict[str, Any], limit: int | None = 1000, folder: Path | None = None
) -> list[Problem]:
    """Problems of the first rows of a source: None, empty or wrongly typed cells, missing columns, malformed lines.

    Args:
        source: An opened source.
        spec: The source as the recipe names it, for `columns` and `format`.
        limit: How many rows to look at; None looks at all.
        folder: The recipe's folder.

    Returns:
        One problem per faulty row, at most 20. A line that cannot be read ends the scan.
    """
    problems: list[Problem] = []
    try:
        for row in islice(source.rows(), limit):
            try:
                to_example(row.values, spec, row.where, folder)
            except RecipeError as error:
                problems += error.problems
            if len(problems) >= _ENOUGH:
                break
    except RecipeError as error:
        problems += error.problems
    return problems[:_ENOUGH]
