"""What a split needs to know of each row, read in one pass: a few numbers for a row, whatever its length."""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfrecipes.data.faults import Places
from hfrecipes.data.hashing import content_key, stable_key
from hfrecipes.data.messages import is_missing
from hfrecipes.data.row import Row
from hfrecipes.data.splits.settings import SplitSettings
from hfrecipes.data.splits.times import microseconds
from hfrecipes.recipe.problem import Problem, RecipeError

FILE = "file"
_NUMBER = re.compile(r":\s*((row|item)\s+)?\d+$")


@dataclass(frozen=True, slots=True)
class Columns:
    """One entry for each row, in the order of the rows.

    Args:
        content: Keys (uint64) of all that a row holds.
        group: Keys of groups; None where there are none.
        label: Keys of labels; None but for `stratified`.
        time: Microseconds (int64); None but for `time`.
        cluster: The first row (int64) of each one's near duplicates; None where nobody asked.
    """

    content: np.ndarray
    group: np.ndarray | None
    label: np.ndarray | None
    time: np.ndarray | None
    cluster: np.ndarray | None


def read_columns(
    rows: Iterable[Row], settings: SplitSettings, root: str = "", text_of: Callable[[Row], str] | None = None
) -> Columns:
    """Reads rows once, and their texts on the way where near duplicates are looked for.

    Args:
        rows: All rows of a source.
        settings: Which columns are read.
        root: The folder of the source as its rows name it.
        text_of: The text of a row; by default all strings in it but those of the columns that the settings name.

    Raises:
        RecipeError: a column that is not there, or a cell that is no time, with the rows it concerns.
    """
    reader = _Reader(settings, root)
    if settings.near_duplicates:
        from hfrecipes.data.clean.clusters import near_duplicate_clusters

        cluster = near_duplicate_clusters(map(text_of or reader.all_strings, reader.passing(rows)))
    else:
        cluster = None
        for _ in reader.passing(rows):
            pass
    reader.refuse_faults()
    return reader.columns(cluster)


class _Reader:
    """Collects what is known of the rows that pass, and the cells that cannot be used."""

    def __init__(self, settings: SplitSettings, root: str) -> None:
        self._settings, self._root = settings, root
        self._content, self._group, self._label, self._time = array("Q"), array("Q"), array("Q"), array("q")
        self._missing: dict[str, Places] = {}
        self._columns: dict[str, str] = {}  # those that the first row without a column has instead
        self._no_time, self._example = Places(), ""

    def passing(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows, read on their way."""
        for row in rows:
            self._add(row)
            yield row

    def all_strings(self, row: Row) -> str:
        known = (self._settings.by, self._settings.group)
        return "\n".join(strings({name: value for name, value in row.values.items() if name not in known}))

    def _add(self, row: Row) -> None:
        settings = self._settings
        self._content.append(content_key(row.values))
        if settings.group == FILE:
            self._group.append(stable_key(file_of(row.where, self._root)))
        elif settings.group is not None:
            self._group.append(self._key(row, settings.group))
        if settings.method == "stratified":
            self._label.append(self._key(row, settings.by or ""))
        if settings.method == "time":
            self._time.append(self._when(row, settings.by or ""))

    def _cell(self, row: Row, column: str) -> Any:
        value = row.values.get(column)
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            self._missing.setdefault(column, Places()).add(row.where)
            self._columns.setdefault(column, ", ".join(row.values))
            return None
        return value

    def _key(self, row: Row, column: str) -> int:
        value = self._cell(row, column)
        return stable_key(json.dumps(value, sort_keys=True, ensure_ascii=False, default=str))

    def _when(self, row: Row, column: str) -> int:
        value = self._cell(row, column)
        if value is None:
            return 0
        try:
            return microseconds(value)
        except (ValueError, OverflowError):
            self._example = self._example or repr(value)[:60]
            self._no_time.add(row.where)
            return 0

    def refuse_faults(self) -> None:
        """Raises what is wrong with the rows that passed, all faults at once."""
        problems = [
            Problem(
                places.first[0],
                f"the column {column!r} that data.splits reads is missing or empty: {places.count:,} rows, {places}",
                f"fill it in, or name another; this row has {self._columns[column]}",
            )
            for column, places in self._missing.items()
        ]
        if self._no_time.count:
            message = f"{self._settings.by} is {self._example}, which is no time: {self._no_time.count:,} rows, {self._no_time}"
            fix = "write times as 2024-03-05, 2024-03-05T10:00:00+01:00, or seconds since 1970"
            problems.append(Problem(self._no_time.first[0], message, fix))
        if problems:
            raise RecipeError(problems)

    def columns(self, cluster: np.ndarray | None) -> Columns:
        keys = (np.array(each, dtype=np.uint64) if each else None for each in (self._group, self._label))
        time = np.array(self._time, dtype=np.int64) if self._time else None
        return Columns(np.array(self._content, dtype=np.uint64), *keys, time, cluster)


def file_of(where: str, root: str) -> str:
    """The file that a row is of, by its path below the source's folder, which is the same on every machine."""
    file = _NUMBER.sub("", where)
    return os.path.relpath(file, root).replace(os.sep, "/") if root else file


def strings(value: Any) -> Iterator[str]:
    """All strings in a row, nested ones included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings(each)
