"""Good answers against bad ones, by counting pairs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hfrecipes.evaluation.labelled_answers import separation


def test_the_share_is_that_of_all_pairs_and_lies_in_its_interval() -> None:
    random = np.random.default_rng(1)
    scores, labels = random.integers(0, 6, 40).astype(float), random.random(40) < 0.4
    pairs = [(good > bad) + (good == bad) / 2 for good in scores[labels] for bad in scores[~labels]]
    found = separation(scores, labels)
    assert found.value == pytest.approx(np.mean(pairs)) and found.n == 40
    assert found.low < found.value < found.high
    assert separation(scores, labels) == found


def test_the_interval_has_the_width_that_theory_gives() -> None:
    random = np.random.default_rng(2)
    scores = np.concatenate([random.normal(1, 1, 150), random.normal(0, 1, 150)])
    found = separation(scores, np.arange(300) < 150)
    area = found.value
    # Hanley and McNeil 1982, equation 1, with their approximation for exponential scores.
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    spread = (area * (1 - area) + 149 * (first - area**2) + 149 * (second - area**2)) / 150**2
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread**0.5, rel=0.15)


def test_answers_that_are_told_apart_without_exception_leave_room_for_one() -> None:
    found = separation([3.0, 2.0, 2.5, 1.0, 0.0], [True, True, True, False, False])
    # Two pairs can be formed of different answers, and both are in order.
    low = stats.binomtest(2, 2).proportion_ci(0.95, method="wilson").low
    assert (found.value, found.high, found.n) == (1.0, 1.0, 5) and found.low == pytest.approx(low)
    assert separation([0.0, 1.0], [True, False]).high < 1.0


@pytest.mark.parametrize(
    ("scores", "labels", "says"),
    [([1.0, 2.0], [True, True], "none of one of them"), ([1.0, float("nan")], [True, False], "answer 1 has a score")],
)
def test_what_cannot_be_compared_is_refused(scores: list[float], labels: list[bool], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        separation(scores, labels)
