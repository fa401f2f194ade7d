"""Permutations of {0, ..., n - 1} that are never written out: any element is computed by itself, forwards only.

A Feistel network of keyed rounds permutes the smallest power of four that holds n; an element that lands outside is sent through
again until it lands inside (cycle walking; Black and Rogaway 2002), on average less than four times. The mixing function is
written out here, so that an order does not change with a version of numpy or Python.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_ROUNDS = 6
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
        key = mix(key ^ mix(part & _MASK))
    return key


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
    half = _half_bits(length)
    low_bits = (1 << half) - 1
    keys = _round_keys(key)
    while True:
        left, right = index >> half, index & low_bits
        for round_key in keys:
            left, right = right, left ^ (mix(right ^ round_key) & low_bits)
        index = left << half | right
        if index < length:
            return index


def permute_all(indices: np.ndarray, length: int, key: int) -> np.ndarray:
    """`permute` for many elements at once.

    Args:
        indices: `(n,)` integers in [0, length).
        length: As in `permute`.
        key: As in `permute`.

    Returns:
        `(n,)` int64.
    """
    values = np.asarray(indices).astype(np.uint64)
    if values.size and int(values.max()) >= length:
        raise IndexError(f"{int(values.max())} is outside a permutation of {length} elements")
    half = np.uint64(_half_bits(length))
    low_bits = np.uint64((1 << int(half)) - 1)
    keys = [np.uint64(round_key) for round_key in _round_keys(key)]
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        walking = values[outside]
        left, right = walking >> half, walking & low_bits
        for round_key in keys:
            left, right = right, left ^ (_mix_all(right ^ round_key) & low_bits)
        values[outside] = left << half | right
        outside = values >= length
    return values.astype(np.int64)


def _mix_all(values: np.ndarray) -> np.ndarray:
    values = values + np.uint64(_GAMMA)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(_FIRST)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(_SECOND)
    return values ^ (values >> np.uint64(31))


def _half_bits(length: int) -> int:
    """Bits of one half of the network: two of them hold every index."""
    if not 1 <= length <= 1 << 62:
        raise ValueError(f"a permutation of {length} elements; it has between 1 and 2**62")
    return max(1, ((length - 1).bit_length() + 1) // 2)


@lru_cache(maxsize=256)
def _round_keys(key: int) -> list[int]:
    return [mix(key ^ mix(number)) for number in range(_ROUNDS)]
