"""`metrics.jsonl`: one line per log call of the Trainer."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class MetricsLogCallback(TrainerCallback):
    """Appends what the Trainer logs; after a resume, lines of steps that are run again are dropped first.

    Args:
        file: The run's `metrics.jsonl`.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if not state.is_world_process_zero or not self.file.is_file():
            return
        lines = self.file.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= state.global_step]
        text = "".join(f"{line}\n" for line in kept) if state.global_step else ""
        self.file.write_text(text, encoding="utf-8")

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
            file.write(json.dumps({**facts, **numbers}, default=str) + "\n")


def _number(value: Any) -> Any:
    """JSON has no nan and no infinity; they are written as text rather than as something that is not JSON."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
