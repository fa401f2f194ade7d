"""Permutations of {0, ..., n - 1} that are never written out: any element is computed by itself, forwards only.

A Feistel network of keyed rounds permutes a rectangle of at least n cells that is nearly square; the few elements that land
outside are sent through again until they land inside (Black and Rogaway 2002: generalised Feistel and cycle walking). The mixing
function is written out here, so that an order does not change with a version of numpy or Python.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

# Of two half rounds each: every half is changed three times.
_ROUNDS = 3
_MASK = (1 << 64) - 1
# Stafford's mix 13 of the murmur3 finaliser, as in SplitMix64 (Steele, Lea and Flood 2014), and its golden-ratio increment.
_GAMMA, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mix(value: int) -> int:
    """A bijection of [0, 2**64) that spreads every bit of its argument over all bits of the result."""
    value = (value + _GAMMA) & _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def key_of(*parts: int) -> int:
    """One key in [0, 2**64) made of several numbers, in their order."""
    key = 0
    for part in parts:
        key = added(key, part)
    return key


def added(key: int, part: int) -> int:
    """`key_of` of what made `key`, and of one number more."""
    return mix(key ^ mix(part & _MASK))


def added_all(key: int, parts: np.ndarray) -> np.ndarray:
    """`added` for many numbers: `(n,)` uint64."""
    return _mix_all(np.uint64(key) ^ _mix_all(parts.astype(np.uint64)))


def permute(index: int, length: int, key: int) -> int:
    """Where a keyed permutation of `length` elements sends `index`.

    Args:
        index: In [0, length).
        length: Number of elements, at least 1 and at most 2**62.
        key: Chooses the permutation; from `key_of`.

    Raises:
        IndexError: `index` is outside.
    """
    if not 0 <= index < length:
        raise IndexError(f"{index} is outside a permutation of {length} elements")
    rows, columns = _sides(length)
    keys = _round_keys(key)
    while True:
        row, column = divmod(index, columns)
        for first, second in keys:
            row = (row + mix(column ^ first)) % rows
            column = (column + mix(row ^ second)) % columns
        index = row * columns + column
        if index < length:
            return index


def permute_all(indices: np.ndarray, length: int, keys: int | np.ndarray) -> np.ndarray:
    """`permute` for many elements at once.

    Args:
        indices: `(n,)` integers in [0, length).
        length: As in `permute`.
        keys: One, or `(n,)` uint64: a permutation for each.

    Returns:
        `(n,)` int64.
    """
    values = np.asarray(indices).astype(np.uint64)
    if values.size and int(values.max()) >= length:
        raise IndexError(f"{int(values.max())} is outside a permutation of {length} elements")
    rows, columns = map(np.uint64, _sides(length))
    keys = np.broadcast_to(np.asarray(keys, dtype=np.uint64), values.shape)
    outside = np.arange(len(values))
    while len(outside):
        row, column = np.divmod(values[outside], columns)
        chosen = keys[outside]
        for first, second in _ROUND_DOMAINS:
            # Reduced before they are added, since a sum beyond 2**64 would lose its highest bit.
            row = (row + _mix_all(column ^ _mix_all(chosen ^ np.uint64(first))) % rows) % rows
            column = (column + _mix_all(row ^ _mix_all(chosen ^ np.uint64(second))) % columns) % columns
        values[outside] = row * columns + column
        outside = outside[values[outside] >= length]
    return values.astype(np.int64)


def _mix_all(values: np.ndarray) -> np.ndarray:
    values = values + np.uint64(_GAMMA)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))


@lru_cache(maxsize=256)
def _sides(length: int) -> tuple[int, int]:
    """Rows and columns of the rectangle: less than a row larger than it has to be."""
    if not 1 <= length <= 1 << 62:
        raise ValueError(f"a permutation of {length} elements; it has between 1 and 2**62")
    rows = math.isqrt(length - 1) + 1
    return rows, -(-length // rows)


@lru_cache(maxsize=4096)
def _round_keys(key: int) -> list[tuple[int, int]]:
    return [(mix(key ^ first), mix(key ^ second)) for first, second in _ROUND_DOMAINS]


_ROUND_DOMAINS = [(mix(2 * number), mix(2 * number + 1)) for number in range(_ROUNDS)]
