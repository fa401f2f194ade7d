"""Whether a reward model rewards length: correlations with it, and with preference held constant. Pure, without torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hfrecipes.evaluation.intervals import Estimate, bootstrap_of_sums, proportion_interval
from hfrecipes.evaluation.pairs import pair_column, right_order, score_differences

# In units of standardised sums: what is smaller is rounding.
_NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class LengthBias:
    """How much a score goes with length.

    Args:
        correlation: Pearson's, of score and length over all answers; None where all scores or all lengths are the same.
        partial: The same with preference held constant (1 chosen, 0 rejected): what length adds that quality does not explain.
        longer_chosen: Share of the pairs in which people preferred the longer answer; pairs of one length are left out.
        longer_preferred: Share of the same pairs in which the model does. Far above `longer_chosen`, it rewards length.
    """

    correlation: Estimate | None
    partial: Estimate | None
    longer_chosen: Estimate | None
    longer_preferred: Estimate | None


def length_bias(
    chosen: Sequence[float],
    rejected: Sequence[float],
    chosen_lengths: Sequence[float],
    rejected_lengths: Sequence[float],
) -> LengthBias:
    """How much scores go with the length of answers, with 95 % intervals over pairs.

    Args:
        chosen: Score of each pair's preferred answer, shape (pairs,).
        rejected: Score of its other answer.
        chosen_lengths: Length of each chosen answer, in whatever unit (tokens, as a rule).
        rejected_lengths: The same of the rejected ones.

    Raises:
        ValueError: as `pair_accuracy`, and where lengths are not finite or not one for each answer.
    """
    differences = score_differences(chosen, rejected)
    pairs = len(differences)
    scores = np.stack([np.asarray(each, dtype=np.float64) for each in (chosen, rejected)])
    lengths = np.stack([pair_column(each, pairs, "length") for each in (chosen_lengths, rejected_lengths)])
    longer = lengths[0] - lengths[1]
    uneven = longer != 0
    longer_chosen = longer_preferred = None
    if uneven.any():
        longer_chosen = proportion_interval(int((longer > 0).sum()), int(uneven.sum()))
        agreeing = right_order(differences[uneven] * np.sign(longer[uneven]))
        longer_preferred = proportion_interval(float(agreeing.sum()), len(agreeing))
    columns = _moments(scores, lengths)
    return LengthBias(
        _defined(bootstrap_of_sums(columns, _correlation)),
        _defined(bootstrap_of_sums(columns, _partial_correlation)),
        longer_chosen,
        longer_preferred,
    )


def _moments(scores: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sums over each pair's two answers from which correlations follow: n, x, y, z, xx, yy, zz, xy, xz, yz, shape (10, pairs).

    Args:
        scores: Of the chosen and the rejected answers, shape (2, pairs): x.
        lengths: Likewise: y. z is 1 for chosen, 0 for rejected.
    """
    preferred = np.stack([np.ones_like(scores[0]), np.zeros_like(scores[1])])
    # Differences of large sums lose digits; correlations do not depend on where zero is or how long a unit.
    x, y, z = (_standard(each) for each in (scores, lengths, preferred))
    products = [np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z]
    return np.stack([each.sum(axis=0) for each in products])


def _standard(values: np.ndarray) -> np.ndarray:
    if values.min() == values.max():
        return np.zeros_like(values)
    return (values - values.mean()) / values.std()


def _correlations(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pearson's correlations of x with y, x with z and y with z, from sums of shape (10, b)."""
    n, x, y, z, xx, yy, zz, xy, xz, yz = sums

    def pearson(a: np.ndarray, b: np.ndarray, aa: np.ndarray, bb: np.ndarray, ab: np.ndarray) -> np.ndarray:
        spread = np.maximum(aa - a * a / n, 0) * np.maximum(bb - b * b / n, 0)
        return _over(ab - a * b / n, np.sqrt(spread))

    return pearson(x, y, xx, yy, xy), pearson(x, z, xx, zz, xz), pearson(y, z, yy, zz, yz)


def _correlation(sums: np.ndarray) -> np.ndarray:
    return _correlations(sums)[0]


def _partial_correlation(sums: np.ndarray) -> np.ndarray:
    """Of score and length, preference held constant."""
    xy, xz, yz = _correlations(sums)
    return _over(xy - xz * yz, np.sqrt(np.maximum(1 - xz**2, 0) * np.maximum(1 - yz**2, 0)))


def _over(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Quotients; NaN where there is nothing to divide by, rounding aside."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > _NOTHING)


def _defined(estimate: Estimate) -> Estimate | None:
    return None if math.isnan(estimate.value) else estimate
