"""A row that cannot be used, told together with the rows behind it that have the same fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from hfrecipes.recipe.problem import Problem, RecipeError

T = TypeVar("T")
R = TypeVar("R")

# Places that a message names before it says how many more there are.
_NAMED = 3
# Seconds for which rows are looked through that have the same fault, before the error is shown.
_PATIENCE = 10.0


@dataclass(slots=True)
class Places:
    """How many rows something holds for, and the first of them.

    `str()` gives `a.jsonl:7, a.jsonl:9, a.jsonl:12 and 4 more`.
    """

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, where: str) -> None:
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append(where)

    def __str__(self) -> str:
        rest = self.count - len(self.first)
        return ", ".join(self.first) + (f" and {rest:,} more" if rest else "")


def map_rows(function: Callable[[T], R], rows: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Each row with what the function makes of it.

    Raises:
        RecipeError: the function's, at the first row that it refuses; where it refuses rows behind that one for the same
            reason, their number and the first places are said too.
    """
    rows = iter(rows)
    for row in rows:
        try:
            result = function(row)
        except RecipeError as error:
            raise _with_those_alike(error, function, rows) from error.__cause__
        yield row, result


def _with_those_alike(error: RecipeError, function: Callable[[T], R], rest: Iterator[T]) -> RecipeError:
    problem, places, deadline = error.problems[0], Places(), time.monotonic() + _PATIENCE
    places.add(problem.where)
    counted_all = True
    for other in _problems(function, rest):
        if other is not None and (other.message, other.fix) == (problem.message, problem.fix):
            places.add(other.where)
        if time.monotonic() > deadline:
            counted_all = False
            break
    if places.count == 1:
        return error
    number = f"{places.count:,}" if counted_all else f"at least {places.count:,}"
    return RecipeError(replace(problem, message=f"{problem.message}: {number} rows, {places}"))


def _problems(function: Callable[[T], R], rows: Iterator[T]) -> Iterator[Problem | None]:
    """What is wrong with each row that can be read at all."""
    while True:
        try:
            row = next(rows)
        except (StopIteration, RecipeError):
            return
        try:
            function(row)
        except RecipeError as error:
            yield error.problems[0]
        else:
            yield None
