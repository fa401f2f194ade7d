"""Two recipes compared over several runs of each: what differs between them, beyond seeds and held-out rows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hfrecipes.evaluation.intervals import Estimate, paired_difference

LEVEL = 0.95
# Variances below this share of the squared figures are rounding.
_ROUNDING = 1e-30


@dataclass(frozen=True, slots=True)
class RowDifference:
    """How far two recipes are apart on held-out rows, as far as rows alone can say.

    Args:
        estimate: The difference with its bootstrap interval over rows, for these very models.
        variance: Of the difference, from row to row: how far it would move on as many other rows.
    """

    estimate: Estimate
    variance: float


def difference_over_rows(ours: np.ndarray, theirs: np.ndarray, sizes: np.ndarray) -> RowDifference:
    """Ours minus theirs of `sum(costs) / sum(sizes)`, each side the mean over its runs, on the same rows.

    The variance is that of a ratio of sums, linearised (Cochran 1977, section 2.11).

    Args:
        ours: Costs of each row in each of our runs, `(runs, rows)`.
        theirs: The same of the others, `(runs, rows)`; they may be more or fewer runs.
        sizes: What a row's costs are divided by, such as its bytes, `(rows,)`.

    Raises:
        ValueError: as `paired_difference`.
    """
    one, other = ours.mean(axis=0), theirs.mean(axis=0)
    estimate = paired_difference(one, other, sizes, level=LEVEL)
    rest = one - other - estimate.value * sizes
    rows = len(sizes)
    spread = float(np.square(rest).sum()) * rows / max(rows - 1, 1)
    return RowDifference(estimate, spread / float(sizes.sum()) ** 2)


def difference_over_seeds(
    ours: Sequence[float], theirs: Sequence[float], *, paired: bool, rows: RowDifference | None = None
) -> Estimate | None:
    """Mean of our runs' figures minus that of theirs, with a 95 % interval by Student's t.

    The variance is that over seeds, of the differences of pairs or of each side (Welch 1947), and where rows are known the one
    over rows as well, so that the interval is one for other seeds and other rows. Degrees of freedom are Satterthwaite's (1946).
    That is an approximation: in simulations with three seeds and sixty rows the interval held the truth in 93 to 96 % of the
    cases.

    Args:
        ours: A figure of each of our runs.
        theirs: The same of the others.
        paired: Whether the runs are pairs: same place, same seed.
        rows: From `difference_over_rows`.

    Returns:
        The estimate, `n` being the runs of the side that has fewer; None where one side has a single run, of which no spread
        is known.
    """
    if min(len(ours), len(theirs)) < 2:
        return None
    one, other = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    value = float(one.mean() - other.mean())
    sides = [one - other] if paired else [one, other]
    parts = [(float(side.var(ddof=1)) / len(side), len(side) - 1) for side in sides]
    if rows is not None and rows.estimate.n > 1:
        parts.append((rows.variance, rows.estimate.n - 1))
    half = _half_width(parts, float(np.square(np.concatenate([one, other])).max()))
    return Estimate(value, value - half, value + half, min(len(one), len(other)))


def _half_width(parts: list[tuple[float, int]], scale: float) -> float:
    """Half a 95 % interval from variances of a mean, each with its degrees of freedom."""
    from scipy.stats import t

    variance = sum(part for part, _ in parts)
    if variance <= _ROUNDING * scale:
        return 0.0
    # Of variances far apart the squares of the small ones vanish; shares keep them.
    freedom = 1 / sum((part / variance) ** 2 / degrees for part, degrees in parts)
    return float(t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(variance)
