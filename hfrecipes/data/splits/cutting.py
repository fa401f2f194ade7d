"""Cutting rows that stand in an order, so that what is tested on comes last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cut_by_time(times: np.ndarray, units: np.ndarray, weights: Sequence[int]) -> np.ndarray:
    """The earliest rows to the first part and so on: no row of a part is later than any of the next.

    Rows of one time, and of one unit, stay together, so there is a cut only between two times that no unit spans. Of these,
    the nearest to the share is taken.

    Args:
        times: `(rows,)` int64.
        units: `(rows,)` int64, equal for rows that may not be parted.
        weights: Of each part.

    Returns:
        `(rows,)` int64.
    """
    order = np.argsort(times, kind="stable")
    _, unit = np.unique(units, return_inverse=True)
    last = np.full(len(times), np.iinfo(np.int64).min)
    np.maximum.at(last, unit, times)
    reach = np.maximum.accumulate(last[unit][order])  # of all units that have begun
    free = np.flatnonzero(reach[:-1] < times[order][1:]) + 1
    return _cut(order, np.concatenate([[0], free, [len(times)]]), weights)


def cut_by_order(units: np.ndarray, weights: Sequence[int]) -> np.ndarray:
    """The first rows to the first part and so on. A unit stands where its first row does.

    Args:
        units: `(rows,)` int64, equal for rows that may not be parted.
        weights: Of each part.

    Returns:
        `(rows,)` int64.
    """
    _, first, unit, sizes = np.unique(units, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first[unit], kind="stable")
    ends = np.cumsum(sizes[np.argsort(first)])
    return _cut(order, np.concatenate([[0], ends]), weights)


def _cut(order: np.ndarray, free: np.ndarray, weights: Sequence[int]) -> np.ndarray:
    """Parts of rows in their order, cut at the free places nearest to the shares; the earlier of two that are as near."""
    parts = np.empty(len(order), dtype=np.int64)
    wanted = np.cumsum(weights)[:-1] * len(order) / sum(weights)
    cuts = np.maximum.accumulate([free[np.abs(free - place).argmin()] for place in wanted]) if len(wanted) else []
    parts[order] = np.searchsorted(np.asarray(cuts), np.arange(len(order)), side="right")
    return parts
