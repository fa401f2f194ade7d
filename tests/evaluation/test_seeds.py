"""Differences over seeds and rows against textbook cases and simulated trainings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hfrecipes.evaluation.seeds import difference_over_rows, difference_over_seeds

OURS, THEIRS = [2.148, 2.074, 2.093], [2.091, 2.145, 2.168]


def test_pairs_are_a_paired_t_test() -> None:
    found = difference_over_seeds(OURS, THEIRS, paired=True)
    wanted = stats.ttest_rel(OURS, THEIRS).confidence_interval()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-12)


def test_two_sides_of_any_size_are_welchs_t_test() -> None:
    found = difference_over_seeds([*OURS, 2.2], THEIRS, paired=False)
    wanted = stats.ttest_ind([*OURS, 2.2], THEIRS, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), rel=1e-12)


def test_a_single_run_says_nothing_of_seeds() -> None:
    assert difference_over_seeds([2.1], THEIRS, paired=False) is None


def test_runs_that_do_not_differ_have_an_interval_without_width() -> None:
    found = difference_over_seeds([0.1, 0.2], [0.1, 0.2], paired=True)
    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)


def test_the_variance_over_rows_is_that_of_the_bootstrap() -> None:
    draw = np.random.default_rng(0)
    sizes = draw.integers(20, 200, 400).astype(float)
    ours, theirs = (sizes * draw.normal(mean, 0.3, (3, 400)) for mean in (2.0, 2.1))
    found = difference_over_rows(ours, theirs, sizes)
    drawn = draw.integers(0, 400, (4000, 400))
    gap = ours.mean(0) - theirs.mean(0)
    spread = (gap[drawn].sum(1) / sizes[drawn].sum(1)).std()
    assert found.variance**0.5 == pytest.approx(spread, rel=0.05)
    assert found.estimate.value == pytest.approx(gap.sum() / sizes.sum())


@pytest.mark.parametrize(("of_seeds", "of_rows"), [(0.05, 0.2), (0.005, 0.2), (0.05, 0.005)])
def test_the_interval_holds_the_truth_as_often_as_it_says(of_seeds: float, of_rows: float) -> None:
    """Three seeds a side, sixty rows, drawn anew each time: neither seeds alone nor rows alone would do."""
    draw = np.random.default_rng(1)
    sizes, held = np.ones(60), 0
    for _ in range(300):
        rows = draw.normal(0, of_rows, 60)
        ours = draw.normal(0.1, of_seeds, (3, 1)) + rows + draw.normal(0, 0.02, (3, 60))
        theirs = draw.normal(0, of_seeds, (3, 1)) + draw.normal(0, 0.02, (3, 60))
        over = difference_over_rows(ours, theirs, sizes)
        found = difference_over_seeds(ours.mean(1), theirs.mean(1), paired=True, rows=over)
        held += found.low <= 0.1 <= found.high
    assert held >= 0.92 * 300
