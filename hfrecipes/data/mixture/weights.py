"""The share of each source as a function of how far a training has come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np

Interpolation = Literal["linear", "step", "cosine"]
Points = Sequence[Sequence[float]]

# Libraries disagree about the last bit of a cosine or a power; rounded, an order is the same everywhere.
DIGITS = 12


@dataclass(frozen=True, slots=True)
class Weight:
    """The weight of one source over progress; before the first point it is the first's, after the last the last's.

    Args:
        points: `(progress, weight)`, progress rising from point to point within [0, 1].
        interpolation: Between two points: along a line; half a cosine, which is flat at both; or a step, which keeps the
            earlier weight until the later point.
    """

    points: tuple[tuple[float, float], ...]
    interpolation: Interpolation = "linear"

    @classmethod
    def of(cls, value: float | Points, interpolation: Interpolation = "linear") -> Weight:
        """A number, or a list of `[progress, weight]`.

        Raises:
            ValueError: naming the point that cannot be.
        """
        if interpolation not in get_args(Interpolation):
            raise ValueError(f"interpolation is {interpolation!r}; it is one of {', '.join(get_args(Interpolation))}")
        if _is_number(value):
            if value < 0:
                raise ValueError(f"{value:g} is negative")
            return cls(((0.0, float(value)),), interpolation)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{value!r} is neither a number nor a list of [progress, weight]")
        _refuse_faulty(value)
        return cls(tuple((float(progress), float(weight)) for progress, weight in value), interpolation)

    def at(self, progress: np.ndarray) -> np.ndarray:
        """The weight at each progress; both of shape `(n,)`."""
        places = np.array([place for place, _ in self.points])
        weights = np.array([weight for _, weight in self.points])
        # Of two points at one place, the later one counts from there on.
        after = np.searchsorted(places, progress, side="right")
        low, high = np.clip(after - 1, 0, None), np.clip(after, None, len(places) - 1)
        if self.interpolation == "step":
            return weights[low]
        span = places[high] - places[low]
        share = np.divide(progress - places[low], span, out=np.zeros_like(progress), where=span > 0)
        if self.interpolation == "cosine":
            share = np.round((1 - np.cos(np.pi * share)) / 2, DIGITS)
        return weights[low] + (weights[high] - weights[low]) * share


def shares_at(weights: Mapping[str, Weight], progress: np.ndarray) -> np.ndarray:
    """The weights of all sources at each progress, made to sum to 1.

    Args:
        weights: By source.
        progress: `(n,)`.

    Returns:
        `(n, sources)` in the order of the mapping.

    Raises:
        ValueError: all weights are 0 somewhere.
    """
    columns = [weight.at(progress) for weight in weights.values()]
    # One after the other: the order in which a sum over an axis is taken is the library's own affair.
    sums = sum(columns, np.zeros_like(progress))
    if (sums <= 0).any():
        place = float(progress[int(np.argmax(sums <= 0))])
        raise ValueError(f"all weights are 0 at progress {place:.3f}, so no source could be drawn from")
    return np.stack([column / sums for column in columns], axis=1)


def _refuse_faulty(points: Sequence[Any]) -> None:
    if not points:
        raise ValueError("no point of the weight is given")
    for number, point in enumerate(points, start=1):
        if not isinstance(point, Sequence) or len(point) != 2 or not all(map(_is_number, point)):
            shown = point if isinstance(point, str) or not isinstance(point, Sequence) else list(point)
            raise ValueError(f"point {number} is {shown}, not [progress, weight]")
        if not 0 <= point[0] <= 1:
            raise ValueError(f"point {number} has the progress {point[0]:g}; it goes from 0 to 1")
        if point[1] < 0:
            raise ValueError(f"point {number} has the weight {point[1]:g}, which is negative")
    for number, (before, after) in enumerate(pairwise(points), start=2):
        if after[0] < before[0]:
            fault = f"point {number} has the progress {after[0]:g}, which comes before that of point {number - 1}"
            raise ValueError(fault)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
