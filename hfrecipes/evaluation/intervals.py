"""Confidence intervals by resampling rows: what a figure could have been on other rows of the same kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

# Rows beyond this many are first summed into this many random groups of equal size. Group sums have the variance that
# rows have, known to 1/sqrt(2 * MAX_UNITS) = 0.5 %, and a million rows cost what twenty thousand do.
MAX_UNITS = 20_000
# Indices drawn at a time, which bounds the memory at some tens of MB whatever the number of resamples.
BLOCK = 1_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval.

    Args:
        value: Computed from all rows, without resampling.
        low: Lower end of the interval.
        high: Upper end of the interval.
        n: Number of rows. The interval of a single row has no width, which says nothing about its certainty.
    """

    value: float
    low: float
    high: float
    n: int


def bootstrap_interval(
    numerators: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap (Efron 1979) of `sum(numerators) / sum(denominators)` over rows.

    Args:
        numerators: One number per row, shape (n,).
        denominators: One non-negative weight per row, shape (n,). Without them the figure is the mean.
        level: Share of the distribution that the interval covers.
        resamples: Number of resampled sets of rows.
        seed: Same rows and seed, same interval.

    Raises:
        ValueError: for no rows, shapes that differ, a number that is not finite (its row is named), or denominators
            that are negative or sum to zero.
    """
    top, bottom = _rows(numerators, denominators)
    _check_resampling(level, resamples)
    columns = np.stack([top, bottom])
    low, high = _percentiles(columns, lambda sums: _ratio(sums[0], sums[1]), level, resamples, seed)
    return Estimate(float(top.sum() / bottom.sum()), low, high, len(top))


def paired_difference(
    numerators: Sequence[float] | np.ndarray,
    baseline: Sequence[float] | np.ndarray,
    denominators: Sequence[float] | np.ndarray | None = None,
    baseline_denominators: Sequence[float] | np.ndarray | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Bootstrap interval of how far one system is from another on the same rows: its figure minus the baseline's.

    Each resample draws the same rows for both, so that what makes a row hard for both cancels; an interval without
    zero in it is a difference that other rows would be expected to show too.

    Args:
        numerators: One number per row of the system, shape (n,).
        baseline: The same of the baseline, row by row.
        denominators: Weights of the system's rows; without them both figures are means.
        baseline_denominators: Weights of the baseline's rows, where they differ from the system's.
        level: Share of the distribution that the interval covers.
        resamples: Number of resampled sets of rows.
        seed: Same rows and seed, same interval.

    Raises:
        ValueError: as `bootstrap_interval`, and where the two systems have different numbers of rows.
    """
    top, bottom = _rows(numerators, denominators)
    other = denominators if baseline_denominators is None else baseline_denominators
    base_top, base_bottom = _rows(baseline, other)
    if len(top) != len(base_top):
        raise ValueError(f"a paired difference needs the same rows twice, not {len(top)} and {len(base_top)} rows")
    _check_resampling(level, resamples)

    def difference(sums: np.ndarray) -> np.ndarray:
        return _ratio(sums[0], sums[1]) - _ratio(sums[2], sums[3])

    columns = np.stack([top, bottom, base_top, base_bottom])
    low, high = _percentiles(columns, difference, level, resamples, seed)
    return Estimate(float(top.sum() / bottom.sum() - base_top.sum() / base_bottom.sum()), low, high, len(top))


def bootstrap_of_sums(
    columns: Sequence[Sequence[float]] | np.ndarray,
    figure: Callable[[np.ndarray], np.ndarray],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Percentile bootstrap of any figure that follows from sums over rows, such as a correlation.

    Args:
        columns: What is summed, one number per row, shape (columns, n). Numbers around zero keep the most digits.
        figure: From sums of shape (columns, b) to b figures; NaN where one is not defined, which leaves a resample out.
        level: Share of the distribution that the interval covers.
        resamples: Number of resampled sets of rows.
        seed: Same rows and seed, same interval.

    Returns:
        The figure of all rows; it and its interval are NaN where it is not defined.

    Raises:
        ValueError: for no rows, or a number that is not finite.
    """
    table = np.asarray(columns, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] == 0:
        raise ValueError("no rows to estimate from")
    if not np.isfinite(table).all():
        row = int(np.flatnonzero(~np.isfinite(table).all(axis=0))[0])
        raise ValueError(f"row {row} holds a number that is not finite")
    _check_resampling(level, resamples)
    value = float(figure(table.sum(axis=1, keepdims=True))[0])
    if math.isnan(value):
        return Estimate(value, value, value, table.shape[1])
    low, high = _percentiles(table, figure, level, resamples, seed)
    return Estimate(value, low, high, table.shape[1])


def proportion_interval(successes: float, n: int, level: float = 0.95) -> Estimate:
    """Wilson's score interval (1927) of a share. Unlike the bootstrap's it keeps its width at 0 of n and n of n.

    Args:
        successes: Rows that succeeded. Rows that count in part (a tie as half) vary less than rows that succeed or not, so
            with them the interval is wider than it need be, never too narrow.
        n: Rows.
        level: Share of the cases in which the interval holds the true share.

    Raises:
        ValueError: unless 0 <= successes <= n and n >= 1.
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"a proportion needs 0 <= successes <= n and n >= 1, not {successes} of {n}")
    _check_resampling(level, 1)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # At the two ends the bound is the share itself; rounding would put it beside.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(share, low, high, n)


def outcome_interval(outcomes: Sequence[float] | np.ndarray, level: float = 0.95) -> Estimate:
    """The mean of outcomes: `proportion_interval` where each is 0 or 1, else `bootstrap_interval`.

    Resampling rows that all agree gives the same figure each time, an interval without width, which would claim certainty.

    Args:
        outcomes: One number per row, such as a score or a reward, shape (n,).
        level: Share of the distribution that the interval covers.

    Raises:
        ValueError: as `bootstrap_interval`.
    """
    if len(outcomes) and set(np.unique(outcomes).tolist()) <= {0.0, 1.0}:
        return proportion_interval(float(np.sum(outcomes)), len(outcomes), level)
    return bootstrap_interval(outcomes, level=level)


def _rows(numerators: Sequence[float] | np.ndarray, denominators: Sequence[float] | np.ndarray | None):
    """Both columns as float64, checked."""
    top = np.asarray(numerators, dtype=np.float64)
    bottom = np.ones_like(top) if denominators is None else np.asarray(denominators, dtype=np.float64)
    if top.ndim != 1 or top.shape != bottom.shape:
        raise ValueError(f"rows are one-dimensional and of one length, not {top.shape} and {bottom.shape}")
    if len(top) == 0:
        raise ValueError("no rows to estimate from")
    unusable = np.flatnonzero(~np.isfinite(top) | ~np.isfinite(bottom) | (bottom < 0))
    if len(unusable):
        row = int(unusable[0])
        raise ValueError(f"row {row} holds {top[row]} over {bottom[row]}: rows are finite, denominators not negative")
    if bottom.sum() == 0:
        raise ValueError("the denominators of all rows are zero")
    return top, bottom


def _check_resampling(level: float, resamples: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is a share between 0 and 1, not {level}")
    if resamples < 1:
        raise ValueError(f"resamples is at least 1, not {resamples}")


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Elementwise quotient, NaN where the denominator is zero."""
    return np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)


def _percentiles(
    columns: np.ndarray, figure: Callable[[np.ndarray], np.ndarray], level: float, resamples: int, seed: int
) -> tuple[float, float]:
    """The interval of `figure`, which turns sums of shape (columns, b) into b figures.

    Resamples without any weight have no figure and are left out.
    """
    generator = np.random.default_rng(seed)
    units = _group(columns, generator)
    count = units.shape[1]
    block = max(1, BLOCK // count)
    figures = []
    for start in range(0, resamples, block):
        drawn = generator.integers(0, count, size=(min(block, resamples - start), count))
        figures.append(figure(np.stack([unit[drawn].sum(axis=1) for unit in units])))
    tail = (1 - level) / 2
    low, high = np.nanquantile(np.concatenate(figures), [tail, 1 - tail])
    return float(low), float(high)


def _group(columns: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Columns of shape (c, n), summed over random groups of rows where n is above MAX_UNITS."""
    n = columns.shape[1]
    if n <= MAX_UNITS:
        return columns
    # Shuffled first: neighbouring rows often come from one document, and groups of them would differ too much.
    shuffled = columns[:, generator.permutation(n)]
    starts = np.linspace(0, n, MAX_UNITS, endpoint=False).astype(np.int64)
    return np.add.reduceat(shuffled, starts, axis=1)
