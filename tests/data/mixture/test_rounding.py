from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.mixture.rounding import PARTS, limited_parts, parts_of, whole_counts


def one_falls_behind(sources: int) -> np.ndarray:
    """Shares under which always picking the largest remainder lets the last sources wait ever longer.

    In each block of one sample all sources that were never picked by that rule have the same share, so that each pick makes the
    others' arrears grow: 1/n, 1/n + 1/(n-1), ...
    """
    return np.stack([np.where(np.arange(sources) < number, 0.0, 1 / (sources - number)) for number in range(sources)])


def largest_remainders(shares: np.ndarray) -> np.ndarray:
    """Another way to round, for blocks of one sample: whoever is owed most."""
    owed, counts = np.zeros(shares.shape[1]), [np.zeros(shares.shape[1], dtype=int)]
    for share in shares:
        owed += share
        chosen = int(owed.argmax())
        owed[chosen] -= 1
        counts.append(counts[-1] + np.eye(shares.shape[1], dtype=int)[chosen])
    return np.stack(counts)


def due(shares: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([np.zeros((1, shares.shape[1])), np.cumsum(shares * size, axis=0)])


def test_errors_do_not_add_up_where_largest_remainders_let_them() -> None:
    shares = one_falls_behind(40)
    by_remainders = np.abs(largest_remainders(shares) - due(shares, 1)).max()
    assert by_remainders > 2
    counts = whole_counts(parts_of(shares, np.full(40, PARTS)))
    assert np.abs(counts - due(shares, 1)).max() < 1
    assert (counts.sum(axis=1) == np.arange(41)).all()


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 9), st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0.02, 3))
def test_counts_are_less_than_a_sample_from_what_is_due(
    sources: int, blocks: int, size: int, seed: int, evenness: float
) -> None:
    shares = np.random.default_rng(seed).dirichlet(np.full(sources, evenness), size=blocks)
    shares = np.nan_to_num(shares, nan=1 / sources)
    parts = parts_of(shares, np.full(blocks, size * PARTS))
    counts, exact = (
        whole_counts(parts),
        np.concatenate([np.zeros((1, sources), dtype=np.int64), np.cumsum(parts, axis=0)]),
    )
    # In whole numbers: strictly less than one sample.
    assert (np.abs(counts * PARTS - exact) < PARTS).all()
    assert (np.diff(counts, axis=0) >= 0).all()
    assert (counts.sum(axis=1) == np.arange(blocks + 1) * size).all()


def test_parts_add_up_and_leave_nothing_to_a_source_without_a_share() -> None:
    shares = np.array([[1 / 3, 1 / 3, 1 / 3, 0.0], [0.1, 0.2, 0.7, 0.0]])
    parts = parts_of(shares, np.array([PARTS, 10**9 * PARTS]))
    assert parts.sum(axis=1).tolist() == [PARTS, 10**9 * PARTS]
    assert (parts[:, 3] == 0).all()
    assert parts[1] / PARTS == pytest.approx([1e8, 2e8, 7e8, 0])


def limited_one_by_one(shares: np.ndarray, size: int, limits: list[int]) -> np.ndarray:
    """Shares with limits, by pouring each block into vessels in small steps: slow and only nearly right."""
    left, steps, rows = np.array(limits, dtype=float), 2000, []
    for share in shares:
        poured = np.zeros_like(left)
        for _ in range(steps):
            open_share = np.where(left > 1e-12, share, 0)
            more = np.minimum(open_share / open_share.sum() * size / steps, left)
            poured, left = poured + more, left - more
        rows.append(poured)
    return np.array(rows)


def test_what_a_source_at_its_limit_leaves_goes_to_the_others_by_their_shares() -> None:
    shares = np.array([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.0, 0.5, 0.5]])
    limits = [9, 8, 1000]
    parts = limited_parts(shares, np.full(4, 10 * PARTS), np.array(limits) * PARTS)
    assert parts / PARTS == pytest.approx(limited_one_by_one(shares, 10, limits), abs=0.05)
    assert parts.sum(axis=1).tolist() == [10 * PARTS] * 4
    assert parts.sum(axis=0)[:2].tolist() == [9 * PARTS, 8 * PARTS]


def test_limits_that_are_used_up_to_the_last_sample_are() -> None:
    parts = limited_parts(np.full((4, 2), 0.5), np.full(4, 10 * PARTS), np.array([7, 33]) * PARTS)
    assert whole_counts(parts)[-1].tolist() == [7, 33]


@pytest.mark.parametrize(("limits", "place"), [([5, 10], "0.250"), ([20, 5], "0.500")])
def test_nothing_left_is_told_with_the_place(limits: list[int], place: str) -> None:
    shares = np.array([[0.5, 0.5], [0.5, 0.5], [0.0, 1.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match=f"from progress {place} on, no source with a weight has rows left"):
        limited_parts(shares, np.full(4, 10 * PARTS), np.array(limits) * PARTS)
