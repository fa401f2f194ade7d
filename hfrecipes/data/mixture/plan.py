"""Which row of which source is sample n: a pure function of weights, lengths, seed and block, of nothing else.

The samples are planned in blocks. How many of a block come from each source follows from the weights at the middle of the block,
rounded so that no source is ever further than a sample from its share of all that came before; the order inside a block and the
order of the rows of each pass over a source are keyed permutations. So sample n is found without looking at those before it:
a resumed training, another number of processes or of workers, and any prefetching see the same sequence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hfrecipes.data.mixture.permutation import added, added_all, key_of, permute, permute_all
from hfrecipes.data.mixture.rounding import MOST_SAMPLES, PARTS, limited_parts, whole_counts
from hfrecipes.data.mixture.weights import Weight, shares_at

# Counted up when the same plan begins to give another order, so that no run is gone on with in it.
VERSION = 1
# Domains of keys: the order in a block, the order in a source.
_IN_BLOCK, _IN_SOURCE = 1, 2


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
        if self.total > MOST_SAMPLES:
            raise ValueError(f"total is {self.total:,}; a mixture has at most {MOST_SAMPLES:,} samples")
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
        """The planned share of each source in each block, `(num_blocks, sources)`."""
        return self._parts / self._parts.sum(axis=1, keepdims=True)

    @cached_property
    def counts(self) -> np.ndarray:
        """Samples of each source before each block, and after the last: `(num_blocks + 1, sources)` int64.

        Raises:
            ValueError: somewhere no source has a weight and samples left.
        """
        return whole_counts(self._parts)

    def due(self, start: int, stop: int) -> np.ndarray:
        """How many of the samples [start, stop) are planned for each source, `(sources,)`, parts of a sample included."""
        blocks = np.arange(start // self.block, -(-stop // self.block))
        inside = np.minimum((blocks + 1) * self.block, stop) - np.maximum(blocks * self.block, start)
        return inside @ self.shares[blocks]

    def drawn(self, index: int) -> np.ndarray:
        """How many of the first `index` samples come from each source, `(sources,)` int64."""
        block = min(index // self.block, self.num_blocks)
        sources, _ = self._draws(np.arange(block * self.block, index))
        return self.counts[block] + np.bincount(sources, minlength=len(self._lengths))

    def locate(self, index: int) -> Place:
        """Where sample `index` comes from.

        Raises:
            IndexError: it is not in [0, total).
        """
        if not 0 <= index < self.total:
            raise IndexError(f"sample {index} of a mixture of {self.total:,}")
        block, position = divmod(index, self.block)
        rank = permute(position, self._size(block), added(self._block_key, block))
        before, after = self.counts[block : block + 2].tolist()
        source = 0
        while rank >= (taken := after[source] - before[source]):
            source, rank = source + 1, rank - taken
        length = self._lengths[source]
        epoch, place = divmod(before[source] + rank, length)
        return Place(source, permute(place, length, added(self._source_keys[source], epoch)), epoch)

    def locate_all(self, indices: np.ndarray) -> np.ndarray:
        """`locate` for many samples at once.

        Args:
            indices: `(n,)` integers in [0, total), in any order.

        Returns:
            `(n, 3)` int64: source, row and epoch of each.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < self.total):
            raise IndexError(f"samples {indices.min()} to {indices.max()} of a mixture of {self.total:,}")
        sources, draws = self._draws(indices)
        epochs, inside = np.divmod(draws, np.array(self._lengths)[sources])
        rows = np.empty_like(inside)
        for source, length in enumerate(self._lengths):
            chosen = np.flatnonzero(sources == source)
            keys = added_all(self._source_keys[source], epochs[chosen])
            rows[chosen] = permute_all(inside[chosen], length, keys)
        return np.stack([sources, rows, epochs], axis=1)

    def _draws(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each sample its source, and how many samples of that source come before it; ranks of a block are permuted."""
        blocks, positions = np.divmod(indices, self.block)
        keys, last = added_all(self._block_key, blocks), blocks == self.num_blocks - 1
        ranks = np.empty_like(positions)
        for chosen, size in ((~last, self.block), (last, self._size(self.num_blocks - 1))):
            ranks[chosen] = permute_all(positions[chosen], size, keys[chosen])
        before = self.counts[blocks]
        taken = self.counts[blocks + 1] - before
        ends = np.cumsum(taken, axis=1)
        sources = (ranks[:, None] >= ends).sum(axis=1)
        own = np.arange(len(indices)), sources
        return sources, before[own] + ranks - (ends[own] - taken[own])

    @cached_property
    def _lengths(self) -> list[int]:
        return list(self.lengths.values())

    @cached_property
    def _block_key(self) -> int:
        return key_of(self.seed, _IN_BLOCK)

    @cached_property
    def _source_keys(self) -> list[int]:
        return [key_of(self.seed, _IN_SOURCE, source) for source in range(len(self.lengths))]

    def _size(self, block: int) -> int:
        """Samples in a block; the last one may be shorter."""
        return min(self.block, self.total - block * self.block)

    @cached_property
    def _parts(self) -> np.ndarray:
        """What each source is due in each block, in parts of a sample."""
        firsts = np.arange(self.num_blocks) * self.block
        sizes = np.minimum(self.total - firsts, self.block)
        shares = shares_at(self.weights, (firsts + sizes / 2) / self.total)
        limits = [self.limits.get(name, self.total) for name in self.lengths]
        return limited_parts(shares, sizes * PARTS, np.array(limits, dtype=np.int64) * PARTS)


def row_limits(max_epochs: Mapping[str, float], lengths: Mapping[str, int]) -> dict[str, int]:
    """The most samples of each source that `max_epochs` allows.

    Raises:
        ValueError: it allows none, or names a source that is not there.
    """
    if unknown := set(max_epochs) - set(lengths):
        raise ValueError(f"max_epochs names {', '.join(sorted(unknown))}, which the mixture does not have")
    # A product such as 0.29 * 100 is a little less than what is meant.
    limits = {name: math.floor(round(epochs * lengths[name], 6)) for name, epochs in max_epochs.items()}
    for name, limit in limits.items():
        if limit < 1:
            raise ValueError(f"max_epochs {max_epochs[name]:g} of {name} allows none of its {lengths[name]:,} rows")
    return limits
