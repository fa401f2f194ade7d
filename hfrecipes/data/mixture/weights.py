"""The share of each source as a function of how far a training has come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

Interpolation = Literal["linear", "step", "cosine"]
Points = Sequence[Sequence[float]]


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
        pairs = [(0.0, value)] if isinstance(value, int | float) else [tuple(point) for point in value]
        if not pairs:
            raise ValueError("no point of the weight is given")
        for number, pair in enumerate(pairs, start=1):
            if len(pair) != 2 or not all(isinstance(part, int | float) and math.isfinite(part) for part in pair):
                raise ValueError(f"point {number} is {list(pair)}, not [progress, weight]")
            if not 0 <= pair[0] <= 1:
                raise ValueError(f"point {number} has the progress {pair[0]:g}; it goes from 0 to 1")
            if pair[1] < 0:
                raise ValueError(f"point {number} has the weight {pair[1]:g}, which is negative")
        for number, (before, after) in enumerate(pairwise(pairs), start=2):
            if after[0] < before[0]:
                raise ValueError(
                    f"point {number} has the progress {after[0]:g}, which comes before that of point {number - 1}"
                )
        return cls(tuple((float(progress), float(weight)) for progress, weight in pairs), interpolation)

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
            share = (1 - np.cos(np.pi * share)) / 2
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
    table = np.stack([weight.at(progress) for weight in weights.values()], axis=1)
    sums = table.sum(axis=1)
    if (sums <= 0).any():
        place = float(progress[int(np.argmax(sums <= 0))])
        raise ValueError(f"all weights are 0 at progress {place:.3f}, so no source could be drawn from")
    return table / sums[:, None]
