"""Length bias: correlations against numpy and regressions, intervals against scipy, shares counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hfrecipes.evaluation.length_bias import length_bias


@pytest.fixture
def pairs():
    draw = np.random.default_rng(5)
    lengths = draw.integers(10, 400, size=(2, 150)).astype(float)
    lengths[0] += 40
    scores = 0.01 * lengths + np.array([[1.0], [0.0]]) + draw.normal(0, 1, (2, 150))
    return scores, lengths


def test_correlation_is_pearsons_and_partial_is_that_of_the_residuals(pairs) -> None:
    scores, lengths = pairs
    found = length_bias(*scores, *lengths)
    assert found.correlation.value == pytest.approx(np.corrcoef(scores.ravel(), lengths.ravel())[0, 1])
    # Taking out a flag is taking out the mean of each of its groups.
    residuals = [(each - each.mean(axis=1, keepdims=True)).ravel() for each in (scores, lengths)]
    assert found.partial.value == pytest.approx(np.corrcoef(*residuals)[0, 1])


def test_intervals_agree_with_scipy(pairs) -> None:
    scores, lengths = pairs
    found = length_bias(*scores, *lengths).correlation

    def pearson(a, b, c, d):
        return np.corrcoef(np.concatenate([a, b]), np.concatenate([c, d]))[0, 1]

    theirs = stats.bootstrap(
        (*scores, *lengths), pearson, paired=True, vectorized=False, n_resamples=1500, method="percentile", rng=1
    ).confidence_interval
    width = theirs.high - theirs.low
    assert abs(found.low - theirs.low) < 0.1 * width and abs(found.high - theirs.high) < 0.1 * width


def test_a_model_that_scores_quality_alone_has_no_partial_correlation_though_good_answers_are_long() -> None:
    draw = np.random.default_rng(6)
    lengths = np.stack([draw.normal(300, 20, 2000), draw.normal(100, 20, 2000)])
    scores = np.array([[2.0], [0.0]]) + draw.normal(0, 0.5, (2, 2000))
    found = length_bias(*scores, *lengths)
    assert found.correlation.low > 0.8
    assert found.partial.low < 0 < found.partial.high and abs(found.partial.value) < 0.06


def test_shares_count_pairs_of_different_length() -> None:
    found = length_bias([1, 0, 1, 5, 2], [0, 1, 0, 0, 2], [5, 5, 2, 3, 9], [3, 3, 4, 3, 1])
    # Pairs 0, 1 and 4 have a longer chosen answer; the model prefers the longer one in 0, the shorter in 1 and 2, neither in 4.
    assert (found.longer_chosen.value, found.longer_chosen.n) == (0.75, 4)
    assert found.longer_preferred.value == pytest.approx(1.5 / 4)


def test_what_has_no_spread_has_no_correlation() -> None:
    same_length = length_bias([1, 2], [0, 1], [7, 7], [7, 7])
    assert same_length.correlation is same_length.partial is same_length.longer_chosen is None
    assert length_bias([1, 1], [1, 1], [7, 6], [7, 5]).correlation is None


def test_units_and_offsets_of_score_and_length_change_nothing(pairs) -> None:
    scores, lengths = pairs
    one, other = length_bias(*scores, *lengths), length_bias(*(scores * 1e-6 + 1e3), *(lengths * 1e6))
    for name in ("correlation", "partial"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high), rel=1e-5)
