"""Best-fit-decreasing packing: whole documents into rows of at most `capacity` tokens, nearly all of them full.

The longest documents are placed first, each into the row that it fills best (Johnson 1973; for language models Ding et al.
2024, arXiv:2404.10830). Documents of one length are placed together: the fullest rows that still have room take as many of
them as they can, so the work grows with the number of different lengths rather than with that of documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

Overflow = Literal["split", "truncate", "refuse"]

_WORD = 1024  # bits; two levels of them reach a million tokens with short integers


class Pieces(NamedTuple):
    """What is packed: stretches of documents.

    Args:
        document: `(pieces,)` int64, the document of each.
        start: `(pieces,)` int64, the token of the document at which it begins.
        length: `(pieces,)` int64, its tokens: at least 1, at most the capacity.
    """

    document: np.ndarray
    start: np.ndarray
    length: np.ndarray


def pack_best_fit(lengths: Sequence[int] | np.ndarray, capacity: int) -> list[np.ndarray]:
    """Packs by best fit, decreasing: the same bins each time, whatever the machine.

    Args:
        lengths: Tokens of each item, from 0 to `capacity`. Items without tokens go into no bin.
        capacity: Tokens that a bin holds.

    Returns:
        The items of each bin (int64 indices into `lengths`), the longest first. Bins stand in the order in which they were
        opened.

    Raises:
        ValueError: an item is longer than a bin, or has a negative length.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if capacity < 1:
        raise ValueError(f"capacity is {capacity}; a bin holds at least 1 token")
    if sizes.size and (sizes.max() > capacity or sizes.min() < 0):
        raise ValueError(f"lengths run from {sizes.min()} to {sizes.max()}; a bin holds 0 to {capacity}")
    order = np.argsort(-sizes, kind="stable")
    order = order[: np.count_nonzero(sizes)]
    distinct, counts = np.unique(sizes[order], return_counts=True)
    bin_of = _place(distinct[::-1].tolist(), counts[::-1].tolist(), capacity)
    members = order[np.argsort(bin_of, kind="stable")]
    ends = np.cumsum(np.bincount(bin_of)).tolist() if len(bin_of) else []
    return [members[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def cut_documents(
    lengths: Sequence[int] | np.ndarray,
    capacity: int,
    overflow: Overflow = "split",
    wheres: Sequence[str] | None = None,
) -> Pieces:
    """Pieces of documents that fit into a bin.

    Args:
        lengths: Tokens of each document; those without any have no piece.
        capacity: Tokens that a bin holds.
        overflow: What becomes of longer documents: `split` into full pieces and a rest, so that no token is lost; `truncate`,
            losing what is beyond; `refuse`.
        wheres: The place of each document, for the refusal.

    Raises:
        ValueError: a document is longer than a bin and `overflow` is `refuse`.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if overflow == "refuse" and (too_long := np.flatnonzero(sizes > capacity)).size:
        first = wheres[too_long[0]] if wheres is not None else f"document {too_long[0]}"
        longest = f"{first} has {sizes[too_long[0]]:,} tokens, and a row holds {capacity:,}"
        raise ValueError(f"{longest}; rows like it: {too_long.size}")
    if overflow == "truncate":
        sizes = np.minimum(sizes, capacity)
    counts = -(-sizes // capacity)
    document = np.repeat(np.arange(len(sizes)), counts)
    first_piece = np.cumsum(counts) - counts
    start = (np.arange(len(document)) - first_piece[document]) * capacity
    return Pieces(document, start, np.minimum(sizes[document] - start, capacity))


class _Spaces:
    """The sizes of room for which there is a bin, and the smallest of them that is large enough."""

    def __init__(self, largest: int) -> None:
        self._words = [0] * (largest // _WORD + 1)
        self._summary = 0  # which words are not 0

    def add(self, space: int) -> None:
        word, bit = divmod(space, _WORD)
        self._words[word] |= 1 << bit
        self._summary |= 1 << word

    def remove(self, space: int) -> None:
        word, bit = divmod(space, _WORD)
        self._words[word] &= ~(1 << bit)
        if not self._words[word]:
            self._summary &= ~(1 << word)

    def smallest_from(self, space: int) -> int | None:
        """The smallest size that is at least `space`."""
        word, bit = divmod(space, _WORD)
        within = self._words[word] >> bit
        if within:
            return space + (within & -within).bit_length() - 1
        further = self._summary >> (word + 1)
        if not further:
            return None
        word += (further & -further).bit_length()
        return word * _WORD + (self._words[word] & -self._words[word]).bit_length() - 1


def _place(distinct: Sequence[int], counts: Sequence[int], capacity: int) -> np.ndarray:
    """The bin of each item, items being ordered by falling length.

    A bin with room for several items of the length takes them one after the other: what it has left is still the best fit,
    since no other bin's room lies between.

    Args:
        distinct: Lengths that occur, the longest first.
        counts: Items of each.
        capacity: Room of an empty bin.
    """
    bins: list[list[int]] = [[] for _ in range(capacity + 1)]  # by the room that they have left
    spaces = _Spaces(capacity)
    opened, takers, taken = 0, [], []
    for length, count in zip(distinct, counts, strict=True):
        while count:
            space = spaces.smallest_from(length)
            each = (capacity if space is None else space) // length
            full, rest = divmod(count, each)
            if space is None:
                chosen = list(range(opened, opened + full + (rest > 0)))
                opened += len(chosen)
                space = capacity
            else:
                ready = bins[space]
                chosen = ready[-(full + (rest > 0)) :]
                del ready[len(ready) - len(chosen) :]
                if not ready:
                    spaces.remove(space)
            numbers = [each] * min(full, len(chosen))
            if len(numbers) < len(chosen):
                numbers.append(rest)
            takers += chosen
            taken += numbers
            count -= sum(numbers)
            _leave(bins, spaces, space - each * length, chosen[: min(full, len(chosen))])
            _leave(bins, spaces, space - rest * length, chosen[full:])
    return np.repeat(np.array(takers, dtype=np.int64), np.array(taken, dtype=np.int64))


def _leave(bins: list[list[int]], spaces: _Spaces, space: int, left: list[int]) -> None:
    """Puts bins where the room that they have left now says."""
    if left and space:
        if not bins[space]:
            spaces.add(space)
        bins[space] += left
