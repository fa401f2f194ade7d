"""The split of every row of a source, from one pass over the rows.

What holds for all methods: every row is in one split; equal rows, rows of a group, and near duplicates where these are asked for,
are in the same one. Where that and the method contradict each other, staying together wins:

- Each row, or group, is first dealt by the method. What ties several of them together (a text that two groups share, a near
  duplicate) then moves all to the split of the first row among them; a warning says how many rows moved. So rows that are added
  move no others, with one exception: a row that resembles two that were apart until now brings them together.
- By time, no row is ever later than one of a later split. Cuts are made only where no group is cut, however far from the shares
  that is; a warning says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from hfrecipes.data.row import Row
from hfrecipes.data.splits.columns import Columns, read_columns
from hfrecipes.data.splits.cutting import cut_by_order, cut_by_time
from hfrecipes.data.splits.dealing import deal_by_hash, deal_groups, deal_rows
from hfrecipes.data.splits.settings import SplitSettings
from hfrecipes.data.splits.units import firsts, tie

# A split whose share of the rows is off by more than this is worth a word.
_FAR_OFF = 0.05


class RowsChangedError(Exception):
    """A source has other rows than those that were dealt."""


@dataclass(frozen=True, eq=False, slots=True)
class Assignment:
    """The splits of a source's rows.

    Args:
        parts: `(rows,)` uint8, the part of each row in the order of the source.
        settings: What the parts are.
        warnings: What a user should know of them.
    """

    parts: np.ndarray
    settings: SplitSettings
    warnings: tuple[str, ...]

    @property
    def splits(self) -> np.ndarray:
        """`(rows,)` the name of each row's split."""
        names = np.array([self.settings.split_of_part(part) for part in self.settings.names])
        return names[self.parts]

    def select(self, rows: Iterable[Row], split: str) -> Iterator[Row]:
        """The rows of a split, lazily, from the same rows as were assigned.

        Raises:
            RowsChangedError: there are more or fewer of them now.
        """
        wanted = np.array([self.settings.split_of_part(part) == split for part in self.settings.names])
        parts = iter(wanted[self.parts].tolist())
        for row in rows:
            taken = next(parts, None)
            if taken is None:
                break
            if taken:
                yield row
        else:
            if next(parts, None) is None:
                return
        raise RowsChangedError("has other rows than when they were dealt")

    def folds_without(self, split: str) -> list[str]:
        """The folds that would have no rows in a split, whichever is in turn; none where there are no folds."""
        if self.settings.fold is None or not len(self.parts):
            return []
        counts = np.bincount(self.parts, minlength=len(self.settings.weights))
        missing = counts == 0 if split == "validation" else counts == len(self.parts)
        return [name for name, without in zip(self.settings.names, missing.tolist(), strict=True) if without]


def assign(
    rows: Iterable[Row], settings: SplitSettings, root: str = "", text_of: Callable[[Row], str] | None = None
) -> Assignment:
    """Reads rows once and finds the split of each; between ten and some two hundred bytes are kept for a row.

    Args:
        rows: All rows of a source, in its order.
        settings: How they are dealt.
        root: The folder of the source as its rows name it, so that `group: file` gives the same splits on every machine.
        text_of: The text of a row, for near duplicates; by default all strings in it but those of the columns that are named.

    Raises:
        RecipeError: a column that the settings name is missing, or a time cannot be read; with the rows.
    """
    columns = read_columns(rows, settings, root, text_of)
    if len(columns.content) == 0:
        return Assignment(np.zeros(0, dtype=np.uint8), settings, ())
    parts, moved = part_of_rows(columns, settings)
    warnings = [*_label_warnings(columns.label, settings), *_warnings(parts, moved, settings)]
    return Assignment(parts.astype(np.uint8), settings, tuple(warnings))


def part_of_rows(columns: Columns, settings: SplitSettings) -> tuple[np.ndarray, int]:
    """The part of each row, as an index into the settings' names, and how many rows had to follow others."""
    weights = list(settings.weights.values())
    relations = [each for each in (columns.group, columns.content, columns.cluster) if each is not None]
    units = tie(*relations) if len(relations) > 1 else firsts(columns.content)
    if settings.method == "time":
        return cut_by_time(columns.time, units, weights), 0
    if settings.method == "order":
        return cut_by_order(units, weights), 0
    dealt = _deal(columns, settings, weights)
    together = dealt[units]
    return together, int((together != dealt).sum())


def _deal(columns: Columns, settings: SplitSettings, weights: list[int]) -> np.ndarray:
    """Each row or group by itself."""
    groups = columns.content if columns.group is None else columns.group
    if settings.method == "hash" and settings.fold is None:
        return deal_by_hash(groups, weights, settings.seed)
    labels = np.zeros(len(groups), dtype=np.uint64) if columns.label is None else columns.label
    if columns.group is not None:
        return deal_groups(groups.tolist(), labels.tolist(), weights, settings.seed)
    first = firsts(groups)
    fresh = first == np.arange(len(groups))
    dealt = np.empty(len(groups), dtype=np.int64)
    dealt[fresh] = deal_rows(labels[fresh].tolist(), weights, settings.seed)
    return dealt[first]


def _label_warnings(labels: np.ndarray | None, settings: SplitSettings) -> Iterator[str]:
    """A column that is no label: most of its values are too rare to be in each split."""
    if labels is None:
        return
    _, each, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rare = int((counts[each] < len(settings.weights)).sum())
    if rare * 2 > len(labels):
        yield (
            f"{settings.by} has {len(counts):,} different values in {len(labels):,} rows, most too rare to be in each split: "
            "is it a label?"
        )


def _warnings(parts: np.ndarray, moved: int, settings: SplitSettings) -> Iterator[str]:
    rows = len(parts)
    if moved:
        yield f"{moved:,} of {rows:,} rows went to the split of a row or group that they resemble, so that none is on both sides"
    counts = np.bincount(parts, minlength=len(settings.weights))
    for (name, weight), count in zip(settings.weights.items(), counts.tolist(), strict=True):
        asked, share = weight / settings.block, count / rows
        # A fold without rows is refused where it is read.
        if (count == 0 and settings.fold is None) or (abs(share - asked) > _FAR_OFF and rows > settings.block):
            yield f"{name} has {share:.1%} of the rows instead of {asked:.1%}: what may not be parted leaves no better cut"
