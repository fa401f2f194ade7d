"""Signs that a training is not well, which do not stop it: loss spikes, gradients of zero, an evaluation that is no number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# Logged losses that a new one is compared with, and how few of them say nothing yet.
_WINDOW, _FEWEST = 20, 8
# A spike is this many robust standard deviations above the median, and this share of it: a smooth curve has tiny deviations.
_DEVIATIONS, _SHARE = 6.0, 0.2
# The median absolute deviation of a normal distribution, times this, is its standard deviation.
_MAD_TO_SIGMA = 1.4826
_MOST_SPIKES = 5


class HealthCallback(TrainerCallback):
    """Warns of each sign as it arises.

    Args:
        warn: Called with each warning.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self.warn = warn
        self.spikes = 0
        self.gradient_was_zero = False

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        logs = logs or {}
        if "loss" in logs:
            # The Trainer has put this very entry into its history already; a resumed run brings the history with it.
            history = [entry["loss"] for entry in state.log_history[:-1] if "loss" in entry]
            self._look_at_loss(logs["loss"], history, state.global_step)
        if logs.get("grad_norm") == 0.0 and not self.gradient_was_zero:
            self.gradient_was_zero = True
            why = "nothing is learned: are all weights frozen, or is the learning signal cut off?"
            self.warn(f"the gradient is zero at step {state.global_step}; {why}")
        for name, value in logs.items():
            if name.startswith("eval_") and isinstance(value, float) and not math.isfinite(value):
                self.warn(f"{name} is {value} at step {state.global_step}")

    def _look_at_loss(self, loss: float, history: Sequence[float], step: int) -> None:
        usual = spiked_above(loss, history)
        if usual is None:
            return
        self.spikes += 1
        if self.spikes <= _MOST_SPIKES:
            more = "; further ones are in metrics.jsonl" if self.spikes == _MOST_SPIKES else ""
            self.warn(f"the loss spiked to {loss:.4g} at step {step}, from {usual:.4g} before{more}")


def spiked_above(loss: float, history: Sequence[float]) -> float | None:
    """The usual loss, where this one lies far above it; else None.

    Args:
        loss: The newest logged loss.
        history: Those before it, in order.
    """
    recent = history[-_WINDOW:]
    if len(recent) < _FEWEST:
        return None
    middle = median(recent)
    spread = _MAD_TO_SIGMA * median(abs(value - middle) for value in recent)
    return middle if loss - middle > max(_DEVIATIONS * spread, _SHARE * abs(middle)) else None
