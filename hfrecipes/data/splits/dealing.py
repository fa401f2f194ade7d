"""Dealing rows, or whole groups of rows, to parts in the order in which they come.

What a row is dealt does not depend on those behind it, so rows that are appended move none; and it is drawn with a key, so that
data in which every tenth row is of one kind does not have that kind dealt to one part.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from hfrecipes.data.splits.fair_blocks import fair_moves

_MASK = 2**64 - 1


def mix(key: int) -> int:
    """A number in [0, 2**64) that looks random and depends on the key only (splitmix64's finaliser, Steele et al. 2014)."""
    key = (key + 0x9E3779B97F4A7C15) & _MASK
    key = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    key = ((key ^ (key >> 27)) * 0x94D049BB133111EB) & _MASK
    return key ^ (key >> 31)


def deal_by_hash(keys: np.ndarray, weights: Sequence[int], seed: int) -> np.ndarray:
    """The part of each key, by nothing but the key: shares hold as they do for coin tosses.

    Args:
        keys: `(rows,)` uint64.
        weights: Of each part.
        seed: Deals anew; 0 takes the keys as they are, which for shares of 90, 5 and 5 % is what sources without
            `data.splits` do.

    Returns:
        `(rows,)` int64.
    """
    ends = [sum(weights[: index + 1]) * 2**64 // sum(weights) for index in range(len(weights))]
    mixed = keys if seed == 0 else np.array([mix(int(key) ^ mix(seed)) for key in keys], dtype=np.uint64)
    return np.searchsorted(np.array(ends[:-1], dtype=np.uint64), mixed, side="right")


def deal_rows(strata: Sequence[int], weights: Sequence[int], seed: int) -> np.ndarray:
    """Deals rows one by one: after any number of rows of a stratum, each part has its share of them to within one row.

    Args:
        strata: `(rows,)` a key of the stratum of each row, in the order of the rows.
        weights: Rows of each part in a block of sum(weights). With more than three parts they have to be equal.
        seed: Deals anew.

    Returns:
        `(rows,)` int64.
    """
    dealers: dict[int, Iterator[int]] = {}
    dealt = np.empty(len(strata), dtype=np.int64)
    for row, stratum in enumerate(strata):
        if stratum not in dealers:
            dealers[stratum] = _dealer(tuple(weights), mix(int(stratum) ^ mix(seed)))
        dealt[row] = next(dealers[stratum])
    return dealt


def deal_groups(groups: Sequence[int], strata: Sequence[int], weights: Sequence[int], seed: int) -> np.ndarray:
    """Deals a group when its first row comes, to a part that is short of rows of that row's stratum; its other rows follow.

    Where the rows of each group come one after the other, no part ever has more than its share of a stratum by the rows of the
    largest group, nor less by those of as many of them as there are other parts. (Nobody who may not cut a group in two
    can promise better than half of the largest.) Groups whose rows are scattered go on growing after they were dealt,
    which no dealer can foresee.

    Args:
        groups: `(rows,)` a key of the group of each row, in the order of the rows.
        strata: `(rows,)` a key of the stratum of each.
        weights: Of each part.
        seed: Deals anew.

    Returns:
        `(rows,)` int64.
    """
    block, parts = sum(weights), range(len(weights))
    counts: dict[int, list[int]] = defaultdict(lambda: [0] * len(weights))
    part_of: dict[int, int] = {}
    dealt = np.empty(len(groups), dtype=np.int64)
    for row, (group, stratum) in enumerate(zip(groups, strata, strict=True)):
        have = counts[stratum]
        if group not in part_of:
            rows = sum(have) + 1
            short = [max(weights[part] * rows - block * have[part], 0) for part in parts]
            part_of[group] = _draw(short, mix(int(group) ^ mix(seed)))
        dealt[row] = part_of[group]
        have[dealt[row]] += 1
    return dealt


def _dealer(weights: tuple[int, ...], key: int) -> Iterator[int]:
    """Endlessly the parts of the rows of one stratum, block by block; in each block every part has its weight."""
    moves = fair_moves(weights) if len(set(weights)) > 1 else None
    drawn = 0
    while True:
        have = (0,) * len(weights)
        for row in range(sum(weights)):
            # Of equal weights, each part has one row of the block.
            odds = [1 - count for count in have] if moves is None else moves[row][have]
            drawn += 1
            part = _draw(odds, mix(key + drawn))
            have = (*have[:part], have[part] + 1, *have[part + 1 :])
            yield part


def _draw(weights: Sequence[int], key: int) -> int:
    """A part with the odds of the weights."""
    mark = key % sum(weights)
    for part, weight in enumerate(weights):
        mark -= weight
        if mark < 0:
            return part
    raise AssertionError("a mark below the sum of the weights lies within one of them")
