"""How well scores tell good answers from bad ones that belong to other prompts. A pure function, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfrecipes.evaluation.intervals import Estimate, proportion_interval

_RESAMPLES = 2000


def separation(scores: Sequence[float], labels: Sequence[bool], level: float = 0.95, seed: int = 0) -> Estimate:
    """The share of all pairs of a good and a bad answer in which the good one scores higher, ties counted half.

    That is the area under the ROC curve (Hanley and McNeil 1982); the interval is the percentile bootstrap over good and bad
    answers, each resampled by themselves. Where all pairs agree that has no width; Wilson's interval takes its place, for as many
    pairs as can be formed without using an answer twice.

    Args:
        scores: Of the answers.
        labels: Whether each is good.
        level: Share of the distribution that the interval covers.
        seed: Same answers and seed, same interval.

    Raises:
        ValueError: a score is not finite, or all answers have the same label.
    """
    found, good = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if not np.isfinite(found).all():
        raise ValueError(f"answer {int(np.flatnonzero(~np.isfinite(found))[0])} has a score that is no finite number")
    better, worse = found[good], found[~good]
    if not len(better) or not len(worse):
        raise ValueError("good and bad answers are compared, and there are none of one of them")
    # Rank of each score among the bad ones: below, and half of those that are equal.
    order = np.sort(worse)
    below = (np.searchsorted(order, better, "left") + np.searchsorted(order, better, "right")) / 2
    value = float(below.mean() / len(worse))
    if value in (0.0, 1.0):
        apart = proportion_interval(value * min(len(better), len(worse)), min(len(better), len(worse)), level)
        return Estimate(value, apart.low, apart.high, len(found))
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(_RESAMPLES):
        one = generator.choice(better, len(better))
        other = np.sort(generator.choice(worse, len(worse)))
        drawn.append((np.searchsorted(other, one, "left") + np.searchsorted(other, one, "right")).mean() / 2)
    low, high = np.quantile(np.asarray(drawn) / len(worse), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), len(found))
