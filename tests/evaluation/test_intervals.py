from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from hfrecipes.evaluation.intervals import (
    MAX_UNITS,
    bootstrap_interval,
    outcome_interval,
    paired_difference,
    proportion_interval,
)


@pytest.fixture
def rows():
    generator = np.random.default_rng(3)
    weights = generator.integers(1, 50, size=80).astype(float)
    return generator.gamma(2.0, weights), weights


def scipy_interval(statistic, *columns, level=0.95):
    result = stats.bootstrap(
        columns,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(9),
    )
    return result.confidence_interval


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_mean_agrees_with_scipy(rows, level):
    values, _ = rows
    ours = bootstrap_interval(values, level=level, resamples=20_000)
    theirs = scipy_interval(lambda x, axis: x.mean(axis), values, level=level)
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.mean(), rel=1e-12)
    assert ours.n == 80
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width


def test_ratio_of_sums_agrees_with_scipy(rows):
    values, weights = rows
    ours = bootstrap_interval(values, weights, resamples=20_000)
    theirs = scipy_interval(lambda x, w, axis: x.sum(axis) / w.sum(axis), values, weights)
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx(values.sum() / weights.sum(), rel=1e-12)
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width


def test_paired_difference_agrees_with_scipy(rows):
    values, weights = rows
    other = values + np.random.default_rng(4).normal(0.5, 1.0, size=80)
    ours = paired_difference(other, values, weights, resamples=20_000)
    theirs = scipy_interval(lambda x, y, w, axis: (x - y).sum(axis) / w.sum(axis), other, values, weights)
    width = theirs.high - theirs.low
    assert ours.value == pytest.approx((other - values).sum() / weights.sum(), rel=1e-9)
    assert abs(ours.low - theirs.low) < 0.03 * width
    assert abs(ours.high - theirs.high) < 0.03 * width


def test_paired_difference_cancels_what_both_find_hard(rows):
    values, weights = rows
    better = values - 0.01 * weights
    paired = paired_difference(better, values, weights)
    alone = bootstrap_interval(values, weights)
    assert paired.high < 0
    assert paired.high - paired.low < 0.01 * (alone.high - alone.low)


def test_paired_difference_with_weights_of_its_own(rows):
    values, weights = rows
    ours = paired_difference(values, values, weights, 2 * weights)
    expected = bootstrap_interval(values / 2, weights)
    assert (ours.value, ours.low, ours.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(400):
        weights = generator.integers(1, 9, size=100).astype(float)
        values = weights * generator.exponential(2.0, size=100)
        estimate = bootstrap_interval(values, weights, level=0.9, resamples=400, seed=trial)
        covered += estimate.low <= 2.0 <= estimate.high
    # 400 trials of 0.9 lie within 0.855 and 0.945 (three standard errors); the bootstrap itself is a little short.
    assert 0.84 < covered / 400 < 0.945


def test_many_rows_are_grouped_without_changing_the_interval():
    generator = np.random.default_rng(1)
    n = 10 * MAX_UNITS + 7
    weights = generator.integers(1, 9, size=n).astype(float)
    # Sorted, so that groups of neighbours would all differ.
    values = np.sort(weights * generator.exponential(2.0, size=n))
    tracemalloc.start()
    estimate = bootstrap_interval(values, weights, resamples=1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    ratio = values.sum() / weights.sum()
    error = np.std(values - ratio * weights) / (weights.mean() * np.sqrt(n))
    assert estimate.n == n
    assert estimate.low == pytest.approx(ratio - 1.96 * error, abs=0.15 * error)
    assert estimate.high == pytest.approx(ratio + 1.96 * error, abs=0.15 * error)
    assert peak < 150e6


def test_seed_decides_and_scale_passes_through(rows):
    values, weights = rows
    first = bootstrap_interval(values, weights, seed=5)
    assert first == bootstrap_interval(values, weights, seed=5)
    assert first != bootstrap_interval(values, weights, seed=6)
    tripled = bootstrap_interval(3 * values, weights, seed=5)
    assert (tripled.low, tripled.high) == pytest.approx((3 * first.low, 3 * first.high))


def test_one_row_and_weightless_rows():
    one = bootstrap_interval([3.0], [2.0])
    assert (one.value, one.low, one.high, one.n) == (1.5, 1.5, 1.5, 1)
    # Most resamples of three rows miss the only one with weight.
    few = bootstrap_interval([4.0, 0.0, 0.0], [2.0, 0.0, 0.0])
    assert (few.value, few.low, few.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (20, 20), (7, 40), (1, 1)])
def test_proportion_agrees_with_scipy(successes, n):
    ours = proportion_interval(successes, n, level=0.9)
    theirs = stats.binomtest(successes, n).proportion_ci(0.9, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert (ours.value, ours.n) == (successes / n, n)


def test_outcomes_that_all_agree_leave_room_for_others():
    assert bootstrap_interval([0.0] * 30).high == 0.0
    # The rule of three (Hanley and Lippman-Hand 1983): 0 of n excludes shares above some 3 / n.
    assert outcome_interval([0.0] * 30).high == pytest.approx(3 / 30, rel=0.2)
    assert outcome_interval([1.0] * 30).low == pytest.approx(1 - 3 / 30, rel=0.2)
    assert outcome_interval([0, 1, 1]) == proportion_interval(2, 3)
    assert outcome_interval([0.5, 1.0, 0.0]) == bootstrap_interval([0.5, 1.0, 0.0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_interval([]), "no rows"),
        (lambda: bootstrap_interval([1.0, float("nan")]), "row 1 holds nan"),
        (lambda: bootstrap_interval([1.0, 2.0], [1.0, -1.0]), "row 1 holds 2.0 over -1.0"),
        (lambda: bootstrap_interval([1.0, 2.0], [0.0, 0.0]), "zero"),
        (lambda: bootstrap_interval([1.0, 2.0], [1.0]), r"\(2,\) and \(1,\)"),
        (lambda: bootstrap_interval([1.0], level=95), "level"),
        (lambda: bootstrap_interval([1.0], resamples=0), "resamples"),
        (lambda: paired_difference([1.0, 2.0], [1.0]), "not 2 and 1"),
        (lambda: proportion_interval(3, 2), "3 of 2"),
        (lambda: proportion_interval(0, 0), "0 of 0"),
    ],
)
def test_unusable_rows_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
