"""`metrics.jsonl`: one line per log call of the Trainer."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hfrecipes.recipe.rundir import read_metrics_line, write_atomically
from hfrecipes.recipe.secrets import redact, redact_values


class MetricsLogCallback(TrainerCallback):
    """Appends what the Trainer logs; after a resume, lines of steps that are run again are dropped first,
    and so are damaged ones. No secret is written.

    Args:
        file: The run's `metrics.jsonl`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero or not self.file.is_file():
            return
        lines = self.file.read_text(encoding="utf-8", errors="replace").split("\n") if state.global_step else []
        entries = [(line, read_metrics_line(line)) for line in lines]
        kept = [line for line, entry in entries if entry is not None and _stays(entry, state.global_step)]
        write_atomically(self.file, "".join(f"{line}\n" for line in kept))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs:
            return
        facts = {"step": state.global_step, "epoch": state.epoch, "time": round(time.time(), 3)}
        numbers = {key: _number(value) for key, value in logs.items() if key not in facts}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**facts, **redact_values(numbers)}, default=_text) + "\n")


def _stays(entry: dict[str, Any], step: int) -> bool:
    # A session that was interrupted has ended with a summary of its own; the run has one, at its end.
    return entry["step"] <= step and "train_runtime" not in entry


def _number(value: Any) -> Any:
    """JSON has no nan and no infinity; they are written as text rather than as something that is not JSON."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return redact(str(value))
