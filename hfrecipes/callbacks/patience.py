"""Early stopping: a training ends when what is measured has not become better for some time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments


class PatienceCallback(EarlyStoppingCallback):
    """As transformers' own, for several held-out sets, of which one decides.

    Args:
        patience: Measurements without an improvement after which the training ends.
        threshold: A smaller improvement counts as none.
        tell: Called once with what happened.
    """

    def __init__(self, patience: int, threshold: float, tell: Callable[[str], None]) -> None:
        super().__init__(patience, threshold)
        self._tell = tell

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_train_begin(args, state, control, **kwargs)
        # Of a run that was cut off behind its last step.
        control.should_training_stop |= self.early_stopping_patience_counter >= self.early_stopping_patience

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float],
        **kwargs: Any,
    ) -> None:
        name = f"eval_{args.metric_for_best_model.removeprefix('eval_')}"
        if name not in metrics:
            return  # of another set
        super().on_evaluate(args, state, control, metrics, **kwargs)
        if control.should_training_stop and state.global_step < state.max_steps:
            times, more = self.early_stopping_patience, self.early_stopping_threshold
            by = f" by more than {more:g}" if more else ""
            self._tell(
                f"early stopping after step {state.global_step:,} of {state.max_steps:,}: {name} has not improved{by} on "
                f"{state.best_metric:.4g} (step {state.best_global_step:,}) in {times} measurement{'s' * (times > 1)}"
            )
