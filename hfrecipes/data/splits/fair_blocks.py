"""In which order a block of rows is dealt to two or three parts: at random, fair to every place, never off by one row.

After n rows of a block, a part with weight w of P has w n / P rows, rounded up or down. Rounding all at once so that every place
falls to each part with exactly its share is possible because the sums that are rounded form two nested families (Edmonds 1970);
for up to three parts the odds of each state follow from the shares alone, and what remains is to join the states of one row to
those of the next by moves that deal one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

Counts = tuple[int, ...]
# From the counts before a row: for each part, the odds that it gets the row.
Moves = dict[Counts, list[int]]


@lru_cache(maxsize=64)
def fair_moves(weights: tuple[int, ...]) -> list[Moves]:
    """For each row of a block, how it is dealt, given what was dealt before.

    Args:
        weights: Rows of each of at most three parts in a block of sum(weights).
    """
    if len(weights) > 3:
        raise ValueError(f"{len(weights)} parts of different weights; there can be 3")
    states = [_states(weights, row) for row in range(sum(weights) + 1)]
    return [_join(before, after) for before, after in pairwise(states)]


def _states(weights: Sequence[int], row: int) -> dict[Counts, int]:
    """The counts that there can be after some rows of a block, and the odds of each out of sum(weights)."""
    block = sum(weights)
    whole = [weight * row // block for weight in weights]
    rest = [weight * row % block for weight in weights]
    up = row - sum(whole)  # how many parts are rounded up
    if up == 0:
        return {tuple(whole): block}
    if up == 1:
        return {_plus_one(whole, part): odds for part, odds in enumerate(rest) if odds}
    return {_minus_one([count + 1 for count in whole], part): block - odds for part, odds in enumerate(rest)}


def _plus_one(counts: Sequence[int], part: int) -> Counts:
    return (*counts[:part], counts[part] + 1, *counts[part + 1 :])


def _minus_one(counts: Sequence[int], part: int) -> Counts:
    return (*counts[:part], counts[part] - 1, *counts[part + 1 :])


def _join(before: dict[Counts, int], after: dict[Counts, int]) -> Moves:
    """Moves that lead from the odds of one row's states to those of the next: a flow, begun evenly and completed."""
    block = sum(before.values())
    parts = range(len(next(iter(before))))
    flow = {
        (counts, part): odds * after[_plus_one(counts, part)] // block
        for counts, odds in before.items()
        for part in parts
        if _plus_one(counts, part) in after
    }
    have, lack = dict(before), dict(after)
    for (counts, part), odds in flow.items():
        have[counts] -= odds
        lack[_plus_one(counts, part)] -= odds
    for counts in before:
        while have[counts]:
            path = _find_path(counts, flow, lack)
            target = _plus_one(*path[-1])
            odds = min([have[counts], lack[target], *(flow[move] for move in path[1::2])])
            for step, move in enumerate(path):
                flow[move] += odds if step % 2 == 0 else -odds
            have[counts] -= odds
            lack[target] -= odds
    return {counts: [flow.get((counts, part), 0) for part in parts] for counts in before}


def _find_path(start: Counts, flow: dict[tuple[Counts, int], int], lack: dict[Counts, int]) -> list[tuple[Counts, int]]:
    """The shortest way from a state with odds left to one that lacks some: by turns a move to add and one to take back."""
    paths, seen = [([], start)], {start}
    for path, counts in paths:
        for move in flow:
            if move[0] != counts:
                continue
            target = _plus_one(*move)
            if lack[target]:
                return [*path, move]
            for back, odds in flow.items():
                if odds and back[0] not in seen and _plus_one(*back) == target:
                    seen.add(back[0])
                    paths.append(([*path, move, back], back[0]))
    raise AssertionError("the states of two rows can always be joined")
