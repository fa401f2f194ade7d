"""A mixture of data sets that are at hand: for trainers, for loaders, or to look things up in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hfrecipes.data.mixture.order import MixtureSampler
from hfrecipes.data.mixture.plan import MixturePlan, row_limits
from hfrecipes.data.mixture.weights import Interpolation, Points, Weight, shares_at


class Curriculum:
    """How the shares of sources change as a training goes on.

    Args:
        weights: By source, a number, or a list of `[progress, weight]` with progress from 0 to 1.
        interpolation: Between points: `linear`, `step` or `cosine`; one for all, or by source.

    Raises:
        ValueError: naming the source and the point that cannot be.
    """

    def __init__(
        self,
        weights: Mapping[str, float | Points],
        interpolation: Interpolation | Mapping[str, Interpolation] = "linear",
    ) -> None:
        self.weights: dict[str, Weight] = {}
        for name, value in weights.items():
            between = interpolation if isinstance(interpolation, str) else interpolation.get(name, "linear")
            try:
                self.weights[name] = Weight.of(value, between)
            except ValueError as error:
                raise ValueError(f"the weight of {name}: {error}") from error

    def shares(self, progress: float | Sequence[float]) -> dict[str, np.ndarray]:
        """The share of each source at a progress, or at several."""
        places = np.atleast_1d(np.asarray(progress, dtype=np.float64))
        found = shares_at(self.weights, places)
        return {name: found[:, number] for number, name in enumerate(self.weights)}


# Samples between two looks at the weights; fewest looks in small mixtures, and most of them: planning those takes a second.
_BLOCK, _FEWEST_BLOCKS, _MOST_BLOCKS = 1024, 256, 65_536
# Samples that are looked up together where a loader reads one batch after the other: a hundred times as fast as each alone.
_LOOKED_UP = 4096


class Mixture:
    """Samples of several sources in the order in which they are trained on: `mixture[n]` is sample n.

    The order is a pure function of the arguments, so any process, worker or session finds sample n without those before it.
    As a map-style data set it is read in sequence (`Trainer` with `train_sampling_strategy="sequential"`); for trainers that
    want a `datasets.Dataset`, `dataset` holds the sources one behind the other and `sampler()` their order.

    Args:
        sources: Data sets with `len` and `[index]`, by name. Shares are of rows: pack each source to rows of one length
            before, or divide its weight by the mean length, for shares of tokens.
        weights: A `Curriculum`, or the weights of one.
        total: Samples in all; best a multiple of the global batch.
        seed: Chooses the order.
        block: Samples between two looks at the weights; by default 1024, fewer in mixtures of fewer than 262,144 samples, so
            that there are 256 looks, and more in those of more than 67 million.
        max_epochs: How often the rows of a source may be seen at most; the others then take its share.

    Raises:
        ValueError: what cannot be planned, and why.
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        weights: Mapping[str, float | Points] | Curriculum,
        total: int,
        seed: int = 0,
        block: int | None = None,
        max_epochs: Mapping[str, float] | None = None,
    ) -> None:
        curriculum = weights if isinstance(weights, Curriculum) else Curriculum(weights)
        if set(curriculum.weights) != set(sources):
            raise ValueError(f"the sources are {', '.join(sources)}, the weights {', '.join(curriculum.weights)}")
        lengths = {name: len(source) for name, source in sources.items()}
        self.sources = dict(sources)
        self.plan = MixturePlan(
            {name: curriculum.weights[name] for name in sources},
            lengths,
            total,
            seed,
            block or max(min(_BLOCK, total // _FEWEST_BLOCKS), -(-total // _MOST_BLOCKS), 1),
            row_limits(max_epochs or {}, lengths),
        )
        self.plan.counts  # noqa: B018 - planned now, so that what is wrong is told now
        self._names = list(sources)
        self._latest: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.plan.total

    def __getitem__(self, index: int) -> Any:
        name, row, _ = self.locate(index)
        return self.sources[name][row]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Several samples at once, as loaders ask for them."""
        places = self._places(np.asarray(indices, dtype=np.int64))
        samples: list[Any] = [None] * len(places)
        for number, source in enumerate(self.sources.values()):
            chosen = np.flatnonzero(places[:, 0] == number).tolist()
            for position, sample in zip(chosen, _rows_of(source, places[chosen, 1].tolist()), strict=True):
                samples[position] = sample
        return samples

    def locate(self, index: int) -> tuple[str, int, int]:
        """Source, row of it, and the number of passes over it before, of one sample.

        Raises:
            IndexError: there is no such sample.
        """
        place = self.plan.locate(index + len(self) if index < 0 else index)
        return self._names[place.source], place.row, place.epoch

    def _places(self, indices: np.ndarray) -> np.ndarray:
        """`plan.locate_all`, from the latest samples that were looked up together where they are among them."""
        first = int(indices.min(initial=len(self))) // _LOOKED_UP * _LOOKED_UP
        if len(indices) < 2 or first < 0 or indices.max() >= min(first + _LOOKED_UP, len(self)):
            return self.plan.locate_all(indices)
        if self._latest is None or self._latest[0] != first:
            self._latest = first, self.plan.locate_all(np.arange(first, min(first + _LOOKED_UP, len(self))))
        return self._latest[1][indices - first]

    @property
    def dataset(self) -> Any:
        """The sources one behind the other, as one `datasets.Dataset`."""
        from datasets import concatenate_datasets

        return concatenate_datasets(list(self.sources.values()))

    def sampler(self, start: int = 0) -> MixtureSampler:
        """The order of the samples as rows of `dataset`, from sample `start` on."""
        return MixtureSampler(self.plan, start)


def _rows_of(source: Any, rows: Sequence[int]) -> Sequence[Any]:
    together = getattr(source, "__getitems__", None)
    return together(rows) if together and rows else [source[row] for row in rows]
