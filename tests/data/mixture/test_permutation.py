from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.data.mixture.permutation import added, added_all, key_of, mix, permute, permute_all


@given(st.integers(1, 700), st.integers(0, 2**64 - 1))
def test_a_permutation_reaches_every_element_once_one_by_one_and_all_together(length: int, key: int) -> None:
    one_by_one = [permute(index, length, key) for index in range(length)]
    assert sorted(one_by_one) == list(range(length))
    assert permute_all(np.arange(length), length, key).tolist() == one_by_one


@given(st.integers(1, 2**62), st.integers(0, 2**64 - 1), st.data())
def test_a_permutation_of_any_length_stays_inside(length: int, key: int, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=20, unique=True))
    found = [permute(index, length, key) for index in indices]
    assert len(set(found)) == len(found)
    assert all(0 <= place < length for place in found)
    assert permute_all(np.array(indices), length, key).tolist() == found


def test_the_mixing_function_is_frozen() -> None:
    # SplitMix64 with seed 0 gives these first (Vigna's reference implementation).
    gamma = 0x9E3779B97F4A7C15
    assert [mix(gamma * step % 2**64) for step in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]
    assert [permute(index, 10, key_of(3, 1)) for index in range(10)] == [7, 2, 9, 1, 0, 6, 5, 3, 4, 8]


def test_places_in_a_permutation_look_random() -> None:
    length, hits = 16, np.zeros((16, 16))
    for key in range(4000):
        hits[np.arange(length), permute_all(np.arange(length), length, key_of(key))] += 1
    expected = 4000 / length
    chi_square = ((hits - expected) ** 2 / expected).sum()
    # 15 x 15 degrees of freedom: mean 225, standard deviation 21.
    assert 140 < chi_square < 320


def test_pairs_of_places_look_random() -> None:
    """Of a small odd length, on which a network of few rounds would show: each of the 5 x 4 pairs of images as often."""
    hits = np.zeros((5, 5))
    for key in range(6000):
        first, second = permute_all(np.arange(2), 5, key_of(7, key))
        hits[first, second] += 1
    expected = 6000 / 20
    chi_square = ((hits[~np.eye(5, dtype=bool)] - expected) ** 2 / expected).sum()
    # 19 degrees of freedom: mean 19, standard deviation 6.2.
    assert chi_square < 45
    assert hits.diagonal().sum() == 0


def test_each_element_may_have_a_permutation_of_its_own() -> None:
    keys = np.array([key_of(number) for number in range(50)], dtype=np.uint64)
    indices = np.arange(50) % 13
    alone = [permute(index, 13, key_of(number)) for number, index in enumerate(indices.tolist())]
    assert permute_all(indices, 13, keys).tolist() == alone


def test_keys_of_many_numbers_are_those_of_each() -> None:
    parts = np.array([0, 1, 2**40, 7])
    assert added_all(key_of(3, 1), parts).tolist() == [key_of(3, 1, part) for part in parts.tolist()]
    assert added(key_of(3), 1) == key_of(3, 1) != key_of(1, 3)


@pytest.mark.parametrize("index", [-1, 10])
def test_what_is_outside_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match="outside a permutation of 10"):
        permute(index, 10, 0)


def test_all_that_is_outside_is_refused() -> None:
    with pytest.raises(IndexError, match="12 is outside a permutation of 10"):
        permute_all(np.array([3, 12]), 10, 0)
