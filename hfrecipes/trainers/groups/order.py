"""The order of prompts that are answered several times: a pure function of the seed, the same for any number of processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from hfrecipes.trainers.sampler import EpochSampler


class GroupSampler(Sampler[int]):
    """Prompts in the order of `EpochSampler`, as TRL's trainers of groups want them.

    Their data loader is asked for the prompts of a whole generation at each micro-batch, and reads them only where answers are
    drawn: each prompt comes once for each of its answers, and the whole as often as there are micro-batches. An epoch has
    whole rollouts: its last one is completed with the first prompts of the next pass.

    Args:
        rows: Prompts of the data set.
        prompts: Those of a generation, over all processes.
        answers: Drawn for each of them.
        repeats: Micro-batches of a generation.
        generations: Of a rollout.
        seed: Decides every permutation.
    """

    def __init__(self, rows: int, prompts: int, answers: int, repeats: int, generations: int, seed: int) -> None:
        self.prompts, self.answers, self.repeats = prompts, answers, repeats
        self._order = EpochSampler(rows, prompts * generations, seed)
        self._generations = len(self._order) // prompts
        self.epoch = 0

    def __len__(self) -> int:
        return self._generations * self.prompts * self.answers * self.repeats

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self._generations
        for number in range(first, first + self._generations):
            for _ in range(self.repeats):
                yield from self.of_generation(number).repeat(self.answers).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the beginning of each epoch, a resumed one included."""
        self.epoch = epoch

    def of_generation(self, number: int) -> np.ndarray:
        """The prompts of one generation of the whole run: `(prompts,)`."""
        return self._order.order(number * self.prompts, (number + 1) * self.prompts)

    def order(self, start: int, stop: int) -> np.ndarray:
        """The prompts [start, stop) of the whole run, each counted once."""
        return self._order.order(start, stop)
