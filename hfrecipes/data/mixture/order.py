"""The order in which the rows of a mixture are read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import numpy as np

from hfrecipes.data.mixture.plan import MixturePlan

# Samples that are looked up together.
_LOOKED_UP = 4096


class MixtureSampler:
    """Rows in the order of a mixture's plan, as indices into its sources one behind the other; a sampler for any loader.

    Args:
        plan: Its samples are yielded once, from the first to the last.
        start: The sample to begin with; none before it is looked at.

    Attributes:
        passed_over: As many samples are yielded as row 0, without a look at the plan: a Trainer that resumes counts what was
            trained on, and throws it away.
    """

    def __init__(self, plan: MixturePlan, start: int = 0) -> None:
        self.plan = plan
        self.start = start
        self.passed_over = 0
        self._offsets = np.cumsum([0, *plan.lengths.values()])[:-1]

    def __len__(self) -> int:
        return self.plan.total - self.start

    def __iter__(self) -> Iterator[int]:
        yield from repeat(0, self.passed_over)
        for first in range(self.start + self.passed_over, self.plan.total, _LOOKED_UP):
            yield from self.order(first, min(first + _LOOKED_UP, self.plan.total)).tolist()

    def set_epoch(self, epoch: int) -> None:
        """A mixture is one long epoch, which counts the passes over each source by itself."""

    def order(self, start: int, stop: int) -> np.ndarray:
        """Rows of the samples [start, stop) of the whole run."""
        places = self.plan.locate_all(np.arange(start, stop))
        return self._offsets[places[:, 0]] + places[:, 1]
