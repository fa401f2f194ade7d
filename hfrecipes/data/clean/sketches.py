"""Small summaries of large corpora: how many different things there are, and a sample that does not depend on the order.

Both are exact up to their size, and merge: what several processes saw gives what one would have seen.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

_SPACE = 2**64


class DistinctCount:
    """Counts different 64-bit hashes, from the lowest of them (KMV, Bar-Yossef et al. 2002).

    Args:
        size: How many hashes are kept; beyond that the relative error is about 1 / sqrt(size).
    """

    __slots__ = ("_heap", "_kept", "size", "total")

    def __init__(self, size: int = 8192) -> None:
        self.size = size
        self.total = 0
        self._kept: set[int] = set()
        self._heap: list[int] = []

    def add(self, hashes: Iterable[int]) -> None:
        """Counts them, repeats included in `total`."""
        for value in hashes:
            self.total += 1
            self._keep(value)

    def merge(self, other: DistinctCount) -> None:
        """Adds what another has seen."""
        self.total += other.total
        for value in other._kept:
            self._keep(value)

    @property
    def distinct(self) -> float:
        """How many different ones: exact while there are fewer than `size`, then an estimate."""
        if len(self._kept) < self.size:
            return float(len(self._kept))
        return (self.size - 1) * _SPACE / (-self._heap[0])

    @property
    def repeated(self) -> float | None:
        """Share of those seen that were there before; None where nothing was seen."""
        return max(0.0, 1 - self.distinct / self.total) if self.total else None

    def _keep(self, value: int) -> None:
        if len(self._heap) >= self.size and value >= -self._heap[0]:
            return
        if value in self._kept:
            return
        self._kept.add(value)
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, -value)
        else:
            self._kept.discard(-heapq.heapreplace(self._heap, -value))


class TextSample:
    """The texts whose hashes are lowest: an even sample, the same whatever the order and the number of processes.

    A text that survives cleaning is in the sample after it whenever it was before, so that the two can be compared.

    Args:
        size: How many texts are kept.
        characters: How much of each, from its beginning.
    """

    __slots__ = ("_heap", "characters", "size")

    def __init__(self, size: int = 1000, characters: int = 5000) -> None:
        self.size = size
        self.characters = characters
        self._heap: list[tuple[int, str]] = []

    def add(self, key: int, text: str) -> None:
        """Takes a text into account, under the hash of the whole of it."""
        if len(self._heap) < self.size:
            heapq.heappush(self._heap, (-key, text[: self.characters]))
        elif -key > self._heap[0][0]:
            heapq.heapreplace(self._heap, (-key, text[: self.characters]))

    def merge(self, other: TextSample) -> None:
        """Adds what another has seen."""
        for negative, text in other._heap:
            self.add(-negative, text)

    def texts(self) -> list[str]:
        """What is kept, in the order of the hashes."""
        return [text for _, text in sorted(self._heap, reverse=True)]
