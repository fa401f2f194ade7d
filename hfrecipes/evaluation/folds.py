"""What several trainings on parts of the same data say together: the mean of a figure, and how far it spreads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

_KEYS = ("model", "dataset", "metric")
_SHARED = ("unit", "higher_is_better")


def fold_figures(evaluations: Sequence[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The evaluations of K trainings, figure by figure.

    The spread is the standard deviation over folds, K - 1 in the denominator. It is no standard error: trainings that share
    most of their rows are not independent (Bengio and Grandvalet 2004), so no interval of the mean is given.

    Args:
        evaluations: The `evaluations` of each fold's run.json, in the order of the folds.

    Returns:
        For each model, data set and metric that all folds were measured in, in the first fold's order: `mean`, `spread` (None
        for one fold), `low` and `high` (the folds' extremes), `values` (one for each fold).
    """
    found = []
    for first in evaluations[0] if evaluations else ():
        key = tuple(first[name] for name in _KEYS)
        values = [each["value"] for fold in evaluations for each in fold if tuple(each[name] for name in _KEYS) == key]
        if len(values) == len(evaluations):
            shared = {name: first[name] for name in (*_KEYS, *_SHARED) if name in first}
            found.append(shared | _figures(values))
    return found


def _figures(values: list[float]) -> dict[str, Any]:
    mean = math.fsum(values) / len(values)
    squares = math.fsum((value - mean) ** 2 for value in values)
    spread = math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else None
    return {"mean": mean, "spread": spread, "low": min(values), "high": max(values), "values": values}
