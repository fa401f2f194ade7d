"""A row of a source, and a source: what every kind of origin looks like to the rest of the project."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hfrecipes.data.hashing import content_key
from hfrecipes.recipe.problem import Problem, RecipeError


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was found.

    Args:
        where: A place that a person can look up: `train.jsonl:7`.
        values: Column -> value, before `columns` and `format` are applied.
    """

    where: str
    values: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Source:
    """Rows of one origin and split. Nothing is read before it is asked for.

    Args:
        name: What the recipe calls it: a Hub id, a path, or an embedded source.
        split: `train`, `validation`, `test`, a split of the Hub's, or None where all is taken.
        license: SPDX id where the origin says one.
        embedded: Whether it comes with Python, so that it needs neither a network nor a file.
        read: Yields the rows of the split.
        hash_content: Gives the revision: `sha256:...` over the content used, or the Hub commit.
        where: Where the recipe names it.
        limit: Keep this many rows, evenly over the whole; None keeps all.
        notes: What a user should know of which rows are taken, once they have been read.
        if_empty: The mend where there are none.
    """

    name: str
    split: str | None
    license: str | None
    embedded: bool
    read: Callable[[], Iterator[Row]]
    hash_content: Callable[[], str]
    where: str
    limit: int | None = None
    notes: Callable[[], tuple[str, ...]] = tuple
    if_empty: str = "name a source or split that has some"

    @property
    def title(self) -> str:
        """`name/split`, as run.json and the card name a data set."""
        return f"{self.name}/{self.split}" if self.split else self.name

    @cached_property
    def revision(self) -> str:
        return self.hash_content()

    def refuse_changed(self, since: str) -> None:
        """Looks whether the content is still that of a revision: rows of two editions are no data set, and have no hash.

        Raises:
            RecipeError: it is another.
        """
        if not self.embedded and self.hash_content() != since:
            fix = "begin again when nothing writes to its files"
            raise RecipeError(Problem(self.where, f"{self.name} has changed while it was read", fix))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Column names of the first row; later rows of ragged files may have others.

        Raises:
            RecipeError: the source has no rows.
        """
        return tuple(next(iter(self.read_or_refuse())).values)

    def rows(self) -> Iterator[Row]:
        """The rows, lazily and in the order of the origin.

        With a `limit` of N, the N rows whose content hashes lowest are taken. That is an even sample of the whole, the
        same each time, and rows added later displace few of those taken before. It costs one extra pass.

        Raises:
            RecipeError: a row that cannot be read, by file and row; or there are none.
        """
        if self.limit is None:
            return self.read_or_refuse()
        return self._sample(self.limit)

    def _sample(self, limit: int) -> Iterator[Row]:
        keys = ((content_key(row.values), position) for position, row in enumerate(self.read_or_refuse()))
        taken = {position for _, position in heapq.nsmallest(limit, keys)}
        return (row for position, row in enumerate(self.read()) if position in taken)

    def read_or_refuse(self) -> Iterator[Row]:
        """The rows before `limit`; a source without any is an error rather than an empty training set."""
        empty = True
        for row in self.read():
            empty = False
            yield row
        if empty:
            raise RecipeError(Problem(self.where, f"{self.title} has no rows", self.if_empty))
