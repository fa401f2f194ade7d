"""Which row of which source is sample n: a pure function of weights, lengths, seed and block, of nothing else.

The samples are planned in blocks. How many of a block come from each source follows from the weights at the middle of the block,
rounded so that no source is ever further than two samples from its share of all that came before; the order inside a block and
the order of the rows of each pass over a source are keyed permutations. So sample n is found without looking at those before it:
a resumed training, another number of processes or of workers, and any prefetching see the same sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hfrecipes.data.mixture.permutation import key_of, permute, permute_all
from hfrecipes.data.mixture.weights import Weight, shares_at

# Domains of keys: the order in a block, the order in a source.
_IN_BLOCK, _IN_SOURCE = 1, 2
# A share that is smaller is the rounding of another.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sample comes from.

    Args:
        source: Number of the source, in the order in which they were given.
        row: Row of it, from 0.
        epoch: How many times all of its rows came before.
    """

    source: int
    row: int
    epoch: int


@dataclass(frozen=True)
class MixturePlan:
    """The plan of a mixture.

    Args:
        weights: By source, over progress.
        lengths: Rows of each source, by the same names in the same order.
        total: Samples in all.
        seed: Chooses the orders.
        block: Samples in a block: weights change between blocks only.
        limits: The most samples of a source that are drawn, where that is bounded. The others then take its share.
    """

    weights: Mapping[str, Weight]
    lengths: Mapping[str, int]
    total: int
    seed: int = 0
    block: int = 1024
    limits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if list(self.weights) != list(self.lengths):
            raise ValueError(f"weights are given for {', '.join(self.weights)}, lengths for {', '.join(self.lengths)}")
        if not self.weights:
            raise ValueError("a mixture has at least one source")
        for name, length in self.lengths.items():
            if length < 1:
                raise ValueError(f"the source {name} has no rows")
        if self.total < 1 or self.block < 1:
            raise ValueError(f"total is {self.total} and block is {self.block}; both are at least 1")
        if unknown := set(self.limits) - set(self.lengths):
            raise ValueError(f"limits are given for {', '.join(sorted(unknown))}, which the mixture does not have")
        if len(self.limits) == len(self.lengths) and sum(self.limits.values()) < self.total:
            most = sum(self.limits.values())
            raise ValueError(f"the limits of all sources allow {most:,} samples, and {self.total:,} are to be drawn")

    @property
    def num_blocks(self) -> int:
        return -(-self.total // self.block)

    @cached_property
    def shares(self) -> np.ndarray:
        """The planned share of each source in each block, `(num_blocks, sources)`.

        Raises:
            ValueError: somewhere no source has a weight and samples left.
        """
        progress = np.minimum((np.arange(self.num_blocks) + 0.5) * self.block / self.total, 1.0)
        shares = shares_at(self.weights, progress)
        return limited_shares(shares, self._sizes, self._limits) if self.limits else shares

    @cached_property
    def counts(self) -> np.ndarray:
        """Samples of each source before each block, and after the last: `(num_blocks + 1, sources)` int64."""
        by_block = self.shares * self._sizes[:, None]
        targets = np.concatenate([np.zeros((1, by_block.shape[1])), np.cumsum(by_block, axis=0)])
        return cumulative_counts(targets, self._sizes, self._limits)

    def drawn(self, index: int) -> np.ndarray:
        """How many of the first `index` samples come from each source, `(sources,)` int64."""
        block = min(index // self.block, self.num_blocks)
        sources, _ = self._draws(block * self.block, index)
        return self.counts[block] + np.bincount(sources, minlength=len(self._lengths))

    def locate(self, index: int) -> Place:
        """Where sample `index` comes from.

        Raises:
            IndexError: it is not in [0, total).
        """
        if not 0 <= index < self.total:
            raise IndexError(f"sample {index} of a mixture of {self.total:,}")
        block, position = divmod(index, self.block)
        drawn = permute(position, self._size(block), key_of(self.seed, _IN_BLOCK, block))
        source, rank = 0, drawn
        before, after = self._counts[block], self._counts[block + 1]
        while rank >= (taken := after[source] - before[source]):
            source, rank = source + 1, rank - taken
        draw = before[source] + rank
        epoch, place = divmod(draw, self._lengths[source])
        return Place(source, permute(place, self._lengths[source], key_of(self.seed, _IN_SOURCE, source, epoch)), epoch)

    def locate_all(self, start: int, stop: int) -> np.ndarray:
        """Where the samples from `start` up to `stop` come from: `(stop - start, 3)` int64 of source, row and epoch."""
        if not 0 <= start <= stop <= self.total:
            raise IndexError(f"samples {start} to {stop} of a mixture of {self.total:,}")
        sources, draws = self._draws(start, stop)
        places = np.empty((stop - start, 3), dtype=np.int64)
        places[:, 0] = sources
        for source, length in enumerate(self._lengths):
            chosen = np.flatnonzero(sources == source)
            epochs, inside = np.divmod(draws[chosen], length)
            places[chosen, 2] = epochs
            for epoch in np.unique(epochs):
                now = epochs == epoch
                key = key_of(self.seed, _IN_SOURCE, source, int(epoch))
                places[chosen[now], 1] = permute_all(inside[now], length, key)
        return places

    def _draws(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each sample its source, and how many samples of that source come before it; ranks of a block are permuted."""
        sources, draws = [], []
        for block in range(start // self.block, -(-stop // self.block)):
            first = block * self.block
            positions = np.arange(max(start - first, 0), min(stop - first, self.block))
            drawn = permute_all(positions, self._size(block), key_of(self.seed, _IN_BLOCK, block))
            before, taken = self.counts[block], np.diff(self.counts[block : block + 2], axis=0)[0]
            ends = np.cumsum(taken)
            source = np.searchsorted(ends, drawn, side="right")
            sources.append(source)
            draws.append(before[source] + drawn - (ends - taken)[source])
        empty = np.zeros(0, dtype=np.int64)
        return (np.concatenate(sources), np.concatenate(draws)) if sources else (empty, empty)

    @cached_property
    def _lengths(self) -> list[int]:
        return list(self.lengths.values())

    def _size(self, block: int) -> int:
        """Samples in a block; the last one may be shorter."""
        return min(self.block, self.total - block * self.block)

    @cached_property
    def _sizes(self) -> np.ndarray:
        sizes = np.full(self.num_blocks, self.block)
        sizes[-1] = self._size(self.num_blocks - 1)
        return sizes

    @cached_property
    def _limits(self) -> np.ndarray:
        return np.array([float(self.limits.get(name, np.inf)) for name in self.lengths])

    @cached_property
    def _counts(self) -> list[list[int]]:
        return self.counts.tolist()  # plain numbers are faster than an array's, one at a time


def limited_shares(shares: np.ndarray, sizes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Shares by block of which none goes on when a source is used up; the others take its part by their own shares.

    Args:
        shares: `(num_blocks, sources)`, each row summing to 1.
        sizes: `(num_blocks,)`, samples in each block.
        limits: `(sources,)`, the most samples of each source, infinite where it has no limit.

    Raises:
        ValueError: somewhere no source with a share has anything left.
    """
    left, limited = limits.astype(np.float64), np.empty_like(shares)
    for block, (wanted, size) in enumerate(zip(shares, sizes, strict=True)):
        taken, missing = np.zeros_like(left), float(size)
        while missing > _ROUNDING * size:
            able = np.where(left - taken > _ROUNDING, wanted, 0.0)
            if able.sum() <= 0:
                progress = block / len(shares)
                raise ValueError(f"from progress {progress:.3f} on, no source with a weight has rows left")
            more = np.minimum(able / able.sum() * missing, left - taken)
            taken += more
            missing -= more.sum()
        limited[block] = taken / size
        left -= taken
    return limited


def cumulative_counts(targets: np.ndarray, sizes: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Whole numbers of samples by source that follow their targets, never fall, and sum to the samples of the blocks.

    What is left of a block after the whole parts goes to the largest remainders of what is still owed. The rest is carried on to
    the next block, so that a small source gets its share in time instead of being rounded away in each block.

    Args:
        targets: `(num_blocks + 1, sources)`, not falling; row b sums to the samples of the blocks before b.
        sizes: `(num_blocks,)`, samples in each block.
        limits: `(sources,)`, the most samples of each source.

    Returns:
        Of the shape of the targets, int64; each within 2 of its target.
    """
    counts = np.zeros(targets.shape, dtype=np.int64)
    now, most = [0] * targets.shape[1], limits.tolist()
    for number, (target, size) in enumerate(zip(targets[1:].tolist(), sizes.tolist(), strict=True), start=1):
        owed = [goal - count for goal, count in zip(target, now, strict=True)]
        able = [limit - count for limit, count in zip(most, now, strict=True)]
        taken = [min(max(int(debt // 1), 0), left) for debt, left in zip(owed, able, strict=True)]
        by_rest = sorted(range(len(owed)), key=lambda source: taken[source] - owed[source])
        missing = size - sum(taken)
        # Sources that are ahead take nothing, which leaves the others up to one sample each too many.
        order = (
            [source for source in by_rest if taken[source] < able[source]]
            if missing >= 0
            else [source for source in reversed(by_rest) if taken[source] > 0]
        )
        for source in order[: abs(missing)]:
            taken[source] += 1 if missing > 0 else -1
        now = [count + more for count, more in zip(now, taken, strict=True)]
        counts[number] = now
    return counts
