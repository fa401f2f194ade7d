"""Scores of the two answers of each pair, checked. Pure functions, without torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def score_differences(chosen: Sequence[float], rejected: Sequence[float]) -> np.ndarray:
    """Score of each pair's chosen answer minus that of its rejected one, float64, shape (pairs,).

    Raises:
        ValueError: for no pairs, numbers of scores that differ, or a score that is not finite (its pair is named).
    """
    first = np.asarray(chosen, dtype=np.float64)
    if first.ndim != 1 or len(first) == 0:
        raise ValueError("no pairs to judge the scores of")
    first = pair_column(first, len(first), "score")
    return first - pair_column(rejected, len(first), "score")


def pair_column(values: Sequence[float] | np.ndarray, pairs: int, name: str) -> np.ndarray:
    """One number for each pair, float64, shape (pairs,).

    Raises:
        ValueError: where it is not that, naming what the numbers are, and the pair of one that is not finite.
    """
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (pairs,):
        raise ValueError(f"each of {pairs} pairs needs a {name}, not {column.shape}")
    unusable = np.flatnonzero(~np.isfinite(column))
    if len(unusable):
        raise ValueError(f"pair {unusable[0]}: its {name} is {column[unusable[0]]}")
    return column


def right_order(differences: np.ndarray) -> np.ndarray:
    """1 where a chosen answer scores higher than its rejected one, .5 for a tie, 0 else."""
    return (np.sign(differences) + 1) / 2
