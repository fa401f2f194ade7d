"""What a training that mixes its sources has read of each: planned and realised shares in every entry of the log."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hfrecipes.data.mixture.order import MixtureSampler
from hfrecipes.data.mixture.schedule import MixtureSchedule

SHARE, PLANNED, EPOCHS = "mixture", "mixture_planned", "mixture_epochs"


class CurriculumCallback(TrainerCallback):
    """Adds to each entry with a loss what was read since the entry before: the share of tokens of each source
    (`mixture/NAME`), the share that was planned (`mixture_planned/NAME`), and its epochs so far (`mixture_epochs/NAME`).

    The entry is shared by all callbacks, so this one comes before those that write it down.

    Args:
        schedule: Of the mixture.
        lengths: `(rows,)`, tokens of each row of the training data: the sources one behind the other.
    """

    def __init__(self, schedule: MixtureSchedule, lengths: np.ndarray) -> None:
        self.schedule = schedule
        self.lengths = lengths
        self._order = MixtureSampler(schedule.plan)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        earlier = (entry["step"] for entry in reversed(state.log_history[:-1]) if "loss" in entry)
        figures = self.figures(next(earlier, 0), state.global_step)
        logs.update(figures)
        state.log_history[-1].update(figures)

    def figures(self, start: int, stop: int) -> dict[str, float]:
        """What is logged of the steps from `start` up to `stop`."""
        names, batch = self.schedule.names, self.schedule.global_batch_size
        first, last = start * batch, stop * batch
        if first == last:
            return {}
        sources = self.schedule.plan.locate_all(first, last)[:, 0]
        tokens = np.bincount(sources, self.lengths[self._order.order(first, last)], minlength=len(names))
        planned, epochs = self.schedule.planned(start, stop), self.schedule.epochs(stop)
        figures = {}
        for number, name in enumerate(names):
            figures[f"{SHARE}/{name}"] = round(float(tokens[number] / tokens.sum()), 4)
            figures[f"{PLANNED}/{name}"] = round(float(planned[number]), 4)
            figures[f"{EPOCHS}/{name}"] = round(epochs[name], 4)
        return figures
