"""Reward models judged by pairs: accuracy, by margin, calibration; the oracles are loops, simulations and torch."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from hfrecipes.evaluation.reward_quality import (
    accuracy_by_margin,
    calibration,
    pair_accuracy,
    reward_estimates,
    reward_quality_facts,
)


def drawn_pairs(scale: float, n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose preferences follow the scores as Bradley and Terry say, told `scale` times too loudly."""
    draw = np.random.default_rng(seed)
    first, second = draw.normal(0, 1.2, n), draw.normal(0, 1.2, n)
    first_wins = draw.random(n) < 1 / (1 + np.exp(second - first))
    chosen, rejected = np.where(first_wins, first, second), np.where(first_wins, second, first)
    return chosen * scale, rejected * scale


def test_accuracy_counts_ties_half() -> None:
    found = pair_accuracy([1, 2, 3, 4], [0, 3, 3, 1])
    assert found.value == pytest.approx(2.5 / 4) and found.n == 4 and found.low < found.value < found.high


def test_log_loss_is_the_loss_that_reward_models_are_trained_with() -> None:
    chosen, rejected = drawn_pairs(3.0, 300)
    expected = -torch.nn.functional.logsigmoid(torch.tensor(chosen - rejected)).mean().item()
    assert calibration(chosen, rejected).log_loss.value == pytest.approx(expected, rel=1e-12)


def test_a_model_without_an_opinion_is_a_guess() -> None:
    found = calibration([1.0] * 20, [1.0] * 20)
    assert found.ece == 0 and found.brier.value == 0.25 and found.log_loss.value == pytest.approx(math.log(2))
    assert [each.accuracy.value for each in found.bins] == [0.5]


def test_calibration_error_is_that_of_a_loop_over_bins() -> None:
    chosen, rejected = drawn_pairs(2.0, 500)
    total = 0.0
    for number in range(10):
        inside = []
        for difference in chosen - rejected:
            sure = 1 / (1 + math.exp(-abs(difference)))
            if 0.5 + number / 20 <= sure < 0.5 + (number + 1) / 20 or (number == 9 and sure == 1):
                inside.append((sure, float(difference > 0)))
        if inside:
            sureness, right = zip(*inside, strict=True)
            total += abs(sum(sureness) - sum(right))
    assert calibration(chosen, rejected).ece == pytest.approx(total / 500, abs=1e-12)


def test_honest_scores_are_calibrated_and_loud_ones_are_not() -> None:
    honest, loud, quiet = (calibration(*drawn_pairs(scale)) for scale in (1.0, 4.0, 0.2))
    assert honest.ece < 0.03 < 0.1 < min(loud.ece, quiet.ece)
    assert honest.brier.value < min(loud.brier.value, quiet.brier.value)
    assert all(each.accuracy.value < each.confidence for each in loud.bins[1:])


def test_scores_beyond_what_exp_can_hold_give_finite_figures() -> None:
    found = calibration([1e4, 0.0], [0.0, 1e4])
    assert (found.log_loss.value, found.brier.value, found.ece) == pytest.approx((5e3, 0.5, 0.5))


def test_pairs_far_apart_are_ordered_more_often_than_near_ones() -> None:
    bins = accuracy_by_margin(*drawn_pairs(1.0))
    values = [each.accuracy.value for each in bins]
    assert len(bins) == 4 and values == sorted(values) and values[0] < 0.6 < 0.85 < values[-1]
    assert [each.accuracy.n for each in bins] == pytest.approx([1000] * 4, abs=1)
    assert all(one.high <= other.low for one, other in pairwise(bins))


def test_pairs_of_one_rating_difference_share_a_bin() -> None:
    chosen, rejected = np.array([1, 1, 1, 0, 1, 1.0]), np.array([0, 0, 2, 1, 0, 0.0])
    bins = accuracy_by_margin(chosen, rejected, margins=[1, 1, 1, 1, 2, 3])
    assert [(each.low, each.high, each.accuracy.value, each.accuracy.n) for each in bins] == [
        (1, 1, 0.5, 4),
        (2, 2, 1.0, 1),
        (3, 3, 1.0, 1),
    ]


def test_every_pair_is_in_exactly_one_bin_whatever_the_number_of_bins() -> None:
    chosen, rejected = drawn_pairs(1.0, 57)
    for bins in (1, 2, 5, 57, 200):
        assert sum(each.accuracy.n for each in accuracy_by_margin(chosen, rejected, num_bins=bins)) == 57
        assert sum(each.accuracy.n for each in calibration(chosen, rejected, bins).bins) == 57


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], []), "no pairs"),
        (([1.0, 2.0], [1.0]), "each of 2 pairs needs a score"),
        (([1.0, 2.0], [0.0, math.nan]), "pair 1: its score is nan"),
    ],
)
def test_unusable_scores_are_named(arguments, message: str) -> None:
    for function in (pair_accuracy, calibration, accuracy_by_margin):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


def test_facts_and_entries_are_plain_json() -> None:
    chosen, rejected = drawn_pairs(1.0, 50)
    facts = reward_quality_facts(chosen, rejected, range(50), [7] * 50, margins=[1.0] * 50)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["margin_of"] == "data" and len(facts["by_margin"]) == 1
    entries = reward_estimates(chosen, rejected, step=3)
    assert json.loads(json.dumps(entries, allow_nan=False)) == entries
    assert {entry["metric"]: entry["higher_is_better"] for entry in entries}["pair_accuracy"] is True
    assert {entry["step"] for entry in entries} == {3}
