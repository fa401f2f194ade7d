"""How good a reward model is on pairs of which one answer was preferred: accuracy by margin, and calibration.

Pure functions of scores, without torch. A model scores s; Bradley and Terry (1952) then give sigmoid(s_chosen - s_rejected)
as the probability that the chosen answer is preferred, which is what the loss of reward models fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hfrecipes.evaluation.intervals import Estimate, bootstrap_interval, proportion_interval
from hfrecipes.evaluation.length_bias import length_bias
from hfrecipes.evaluation.pairs import pair_column, right_order, score_differences

BINS = 10
MARGIN_BINS = 4
# A binary outcome cannot be less certain than this.
_GUESS = 0.5


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs that are alike in something.

    Args:
        low: Smallest value among them.
        high: Largest.
        accuracy: Share of them that the model orders as the data does, a tie counted as half.
        confidence: Mean probability that the model gives to its own preference.
    """

    low: float
    high: float
    accuracy: Estimate
    confidence: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Whether the model is right as often as it says.

    Args:
        ece: Expected calibration error: how far accuracy and confidence lie apart, averaged over bins of confidence weighed by
            their pairs (Naeini et al. 2015). Of few pairs it is above zero for a perfect model too.
        brier: Mean squared error of the probability given to the chosen answer; .25 for a guess.
        log_loss: Mean of -log of that probability, in nats: the loss of training. ln 2 for a guess.
        bins: Of confidence, from .5 to 1, equally wide; those without pairs are left out.
    """

    ece: float
    brier: Estimate
    log_loss: Estimate
    bins: list[Bin]


def pair_accuracy(chosen: Sequence[float], rejected: Sequence[float]) -> Estimate:
    """Share of the pairs whose chosen answer scores higher, a tie counted as half, with Wilson's 95 % interval.

    Args:
        chosen: Score of each pair's preferred answer, shape (pairs,).
        rejected: Score of its other answer.

    Raises:
        ValueError: for no pairs, numbers of scores that differ, or a score that is not finite (its pair is named).
    """
    right = right_order(score_differences(chosen, rejected))
    return proportion_interval(float(right.sum()), len(right))


def accuracy_by_margin(
    chosen: Sequence[float],
    rejected: Sequence[float],
    margins: Sequence[float] | None = None,
    num_bins: int = MARGIN_BINS,
) -> list[Bin]:
    """Accuracy among pairs that are hard to tell apart, and among those that are easy.

    Args:
        chosen: Score of each pair's preferred answer, shape (pairs,).
        rejected: Score of its other answer.
        margins: How much better the chosen answer is by the data (a difference of ratings, the place in a ranking); without them
            how far apart the model scores the two.
        num_bins: Bins of about as many pairs each. Pairs of the same margin share a bin, so ratings of few steps give fewer.

    Returns:
        Bins from the smallest margins to the largest.

    Raises:
        ValueError: as `pair_accuracy`, and where margins are not finite or not one for each pair.
    """
    differences = score_differences(chosen, rejected)
    values = np.abs(differences) if margins is None else pair_column(margins, len(differences), "margin")
    edges = np.unique(np.quantile(values, np.linspace(0, 1, num_bins + 1)[1:-1], method="inverted_cdf"))
    return _bins(differences, values, np.searchsorted(edges, values, side="left"))


def calibration(chosen: Sequence[float], rejected: Sequence[float], num_bins: int = BINS) -> Calibration:
    """Whether sigmoid(s_chosen - s_rejected) can be taken for a probability.

    Args:
        chosen: Score of each pair's preferred answer, shape (pairs,).
        rejected: Score of its other answer.
        num_bins: Bins of confidence between .5 and 1.

    Raises:
        ValueError: as `pair_accuracy`.
    """
    differences = score_differences(chosen, rejected)
    confidences = _sigmoid(np.abs(differences))
    places = np.minimum(((confidences - _GUESS) / _GUESS * num_bins).astype(int), num_bins - 1)
    bins = _bins(differences, confidences, places)
    gaps = [each.accuracy.n * abs(each.accuracy.value - each.confidence) for each in bins]
    log_loss = np.logaddexp(0.0, -differences)
    brier = bootstrap_interval((1 - _sigmoid(differences)) ** 2)
    return Calibration(sum(gaps) / len(differences), brier, bootstrap_interval(log_loss), bins)


def reward_estimates(chosen: Sequence[float], rejected: Sequence[float], step: int = 0) -> list[dict[str, Any]]:
    """Accuracy, log loss, Brier score and ECE of a reward model, each with its 95 % interval where it has one.

    Args:
        chosen: Score of each pair's preferred answer, shape (pairs,).
        rejected: Score of its other answer.
        step: Optimizer step at which the model was measured.

    Returns:
        Entries of run.json's `evaluations`, for the caller to add `model` and `dataset` to.

    Raises:
        ValueError: as `pair_accuracy`.
    """
    accuracy, found = pair_accuracy(chosen, rejected), calibration(chosen, rejected)
    ece = {"value": found.ece, "low": None, "high": None, "n": accuracy.n}
    figures = [
        ("pair_accuracy", asdict(accuracy), "share", True),
        ("pair_log_loss", asdict(found.log_loss), "nats/pair", False),
        ("brier_score", asdict(found.brier), "", False),
        ("calibration_error", ece, "", False),
    ]
    return [
        {"metric": metric, **values, "unit": unit, "higher_is_better": higher, "step": step}
        for metric, values, unit, higher in figures
    ]


def reward_quality_facts(
    chosen: Sequence[float],
    rejected: Sequence[float],
    chosen_lengths: Sequence[float],
    rejected_lengths: Sequence[float],
    margins: Sequence[float] | None = None,
) -> dict[str, Any]:
    """What is to be known about a reward model besides its estimates, as plain values for run.json.

    Args:
        chosen: Score of each pair's preferred answer, shape (pairs,).
        rejected: Score of its other answer.
        chosen_lengths: Length of each chosen answer.
        rejected_lengths: Length of each rejected answer.
        margins: The data's own, where it has them.

    Returns:
        `margin_of` ("data" or "scores"), `by_margin` (bins), `calibration` (bins, ece, brier, log_loss), `length`.

    Raises:
        ValueError: as the functions above.
    """
    return {
        "margin_of": "scores" if margins is None else "data",
        "by_margin": [asdict(each) for each in accuracy_by_margin(chosen, rejected, margins)],
        "calibration": asdict(calibration(chosen, rejected)),
        "length": asdict(length_bias(chosen, rejected, chosen_lengths, rejected_lengths)),
    }


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -values))


def _bins(differences: np.ndarray, values: np.ndarray, places: np.ndarray) -> list[Bin]:
    """Pairs by the bin that each is in; bins without pairs are left out."""
    right, confidences = right_order(differences), _sigmoid(np.abs(differences))
    found = []
    for place in np.unique(places):
        inside = places == place
        accuracy = proportion_interval(float(right[inside].sum()), int(inside.sum()))
        low, high = float(values[inside].min()), float(values[inside].max())
        found.append(Bin(low, high, accuracy, float(confidences[inside].mean())))
    return found
