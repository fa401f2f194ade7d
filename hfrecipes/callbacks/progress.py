"""Progress of a training: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# Seconds between two lines where nothing can be redrawn.
LINE_EVERY = 20.0


class ProgressCallback(TrainerCallback):
    """Steps done, loss, evaluation, tokens a second and the time that is left.

    Args:
        title: What is trained.
        tokens_per_step: For the speed.
        console: Where to draw.
    """

    def __init__(self, title: str, tokens_per_step: float, console: Console) -> None:
        self.title = title
        self.tokens_per_step = tokens_per_step
        self.console = console
        self.progress: Progress | None = None
        self.figures: dict[str, str] = {}
        self.started = self.last_line = 0.0
        self.first_step = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        self.started = self.last_line = time.monotonic()
        self.first_step = state.global_step
        if self.console.is_terminal:
            text = (
                TextColumn("{task.description}", markup=False),
                BarColumn(20),
                TextColumn("{task.completed}/{task.total}"),
            )
            # The figures give way on a narrow terminal, not the bar and the clock.
            figures = TextColumn(
                "{task.fields[figures]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            )
            columns = (*text, figures, TimeElapsedColumn(), TimeRemainingColumn())
            self.progress = Progress(*columns, console=self.console, expand=True)
            self.task = self.progress.add_task(
                self.title, total=state.max_steps, completed=state.global_step, figures=""
            )
            self.progress.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        if self.progress:
            self.progress.update(self.task, completed=state.global_step, figures=self._figures(state))
        elif time.monotonic() - self.last_line > LINE_EVERY:
            self._line(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        for key, value in (logs or {}).items():
            if key == "loss" or (key.startswith("eval_") and key.endswith("loss")):
                self.figures[key] = f"{key} {value:.3f}"

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.stop()
        if state.is_world_process_zero and not self.console.is_terminal:
            self._line(state)

    def stop(self) -> None:
        """Takes the bar away, also after an error."""
        if self.progress:
            self.progress.stop()
            self.progress = None

    def _figures(self, state: TrainerState) -> str:
        seconds = time.monotonic() - self.started
        speed = (state.global_step - self.first_step) * self.tokens_per_step / max(seconds, 1e-9)
        return " · ".join([*self.figures.values(), f"{speed:,.0f} tokens/s"])

    def _line(self, state: TrainerState) -> None:
        self.last_line = time.monotonic()
        done = f"step {state.global_step}/{state.max_steps}"
        self.console.print(
            f"{self.title}: {done} · {self._figures(state)}", highlight=False, markup=False, soft_wrap=True
        )
