"""How good the answers of a ranking are: its ranks or its scores as places, and whether the two contradict each other."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

from hfrecipes.data.cells import Cells
from hfrecipes.data.messages import is_missing, kind_of
from hfrecipes.recipe.problem import RecipeError

# The lowest rank is the best, and the highest score.
_RANKS, _SCORES = "ranks", "scores"


def ranks_of(cells: Cells, count: int) -> list[int]:
    """The place of each answer of a ranking, 0 for the best; tied ones have the same.

    Args:
        cells: The row; without ranks and scores its answers are best first.
        count: Its answers.

    Raises:
        RecipeError: the column holds no number for each answer, or the row has both, which prefer different answers.
    """
    name = first_column(cells, tuple(each for each in (_RANKS, _SCORES) if not is_missing(cells.values.get(each))))
    if name is None:
        return list(range(count))
    places = _places(cells, name, count)
    other = _SCORES if name == _RANKS else _RANKS
    # Where the recipe names one of the two, the other may say something else.
    if (name in cells.columns) == (other in cells.columns) and not is_missing(cells.values.get(other)):
        _refuse_contradiction(cells, (name, other), places)
    return places


def first_column(cells: Cells, names: tuple[str, ...]) -> str | None:
    """The column of a row that counts: one that the recipe names under `columns:` before all others."""
    found = [name for name in names if name in cells.values]
    return next((name for name in found if name in cells.columns), found[0] if found else None)


def number_of(cells: Cells, name: str, value: Any) -> float:
    """A number of a row.

    Raises:
        RecipeError: naming the column, where it is none that could be compared.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise cells.error(name, f"holds {kind_of(value)} where a number is expected")
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise cells.error(name, f"holds {number}, which is no number to compare by")
    return number


def _places(cells: Cells, name: str, count: int) -> list[int]:
    said = cells.cell(name)
    if not isinstance(said, list) or len(said) != count:
        shown = f"a list of {len(said)}" if isinstance(said, list) else kind_of(said)
        raise cells.error(name, f"is {shown} where one number for each of {count} answers is expected")
    values = [number_of(cells, name, value) for value in said]
    best_first = sorted(set(values), reverse=name == _SCORES)
    return [best_first.index(value) for value in values]


def _refuse_contradiction(cells: Cells, names: tuple[str, str], places: list[int]) -> None:
    """Looks whether ranks and scores prefer the same answers; answers that are tied in one of them may differ in the other.

    Raises:
        RecipeError: naming two answers of which each is the better one by one of the columns.
    """
    counts, other = names
    try:
        others = _places(cells, other, len(places))
    except RecipeError:
        return  # a column of that name which holds something else
    for first, second in combinations(range(len(places)), 2):
        if (places[first] - places[second]) * (others[first] - others[second]) < 0:
            better, worse = (first, second) if places[first] < places[second] else (second, first)
            fault = f"say that answer {better + 1} is better than answer {worse + 1}, and {other} the opposite"
            fix = f"correct the row (the lowest rank and the highest score are the best), or say columns: {{{counts}: {counts}}}"
            raise cells.error(counts, fault, fix)
