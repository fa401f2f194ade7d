"""What a training that mixes its sources has read of each: planned and realised shares in every entry of the log."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hfrecipes.data.mixture.order import MixtureSampler
from hfrecipes.data.mixture.plan import MixturePlan

SHARE, PLANNED, EPOCHS = "mixture", "mixture_planned", "mixture_epochs"
# Samples that are looked up together.
_LOOKED_UP = 1 << 16


class CurriculumCallback(TrainerCallback):
    """Adds to each entry with a loss what was read since the entry before: the share of each source (`mixture/NAME`), the
    share that was planned (`mixture_planned/NAME`), and its epochs so far (`mixture_epochs/NAME`).

    The entry is shared by all callbacks, so this one comes before those that write it down.

    Args:
        plan: Of the mixture that is read in its order, from the first step on.
        lengths: `(rows,)`, tokens of each row, the sources one behind the other: shares are then of tokens. Of rows by default.
    """

    def __init__(self, plan: MixturePlan, lengths: np.ndarray | None = None) -> None:
        rows = sum(plan.lengths.values())
        if lengths is not None and len(lengths) != rows:
            raise ValueError(f"lengths are given of {len(lengths):,} rows, and the mixture has {rows:,}")
        self.plan = plan
        self.lengths = np.ones(rows) if lengths is None else lengths
        self._order = MixtureSampler(plan)
        self._rows = np.array(list(plan.lengths.values()))
        self._means = np.add.reduceat(self.lengths, np.cumsum(self._rows) - self._rows) / self._rows

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
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        figures = self.figures(next(earlier, 0) * batch, state.global_step * batch)
        logs.update(figures)
        state.log_history[-1].update(figures)

    def figures(self, start: int, stop: int) -> dict[str, float]:
        """What is logged of the samples from `start` up to `stop`."""
        stop = min(stop, self.plan.total)
        if start >= stop:
            return {}
        read, planned = self._read(start, stop), self.plan.due(start, stop) * self._means
        columns = {
            SHARE: read / read.sum(),
            PLANNED: planned / planned.sum(),
            EPOCHS: self.plan.drawn(stop) / self._rows,
        }
        return {
            f"{kind}/{name}": round(float(value), 4)
            for kind, values in columns.items()
            for name, value in zip(self.plan.lengths, values, strict=True)
        }

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Tokens of the samples [start, stop) by source, `(sources,)`."""
        read = np.zeros(len(self._rows))
        for first in range(start, stop, _LOOKED_UP):
            rows = self._order.order(first, min(first + _LOOKED_UP, stop))
            sources = np.searchsorted(np.cumsum(self._rows), rows, side="right")
            read += np.bincount(sources, self.lengths[rows], minlength=len(read))
        return read
