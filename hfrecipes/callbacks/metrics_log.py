"""`metrics.jsonl`: one line per log call of the Trainer."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hfrecipes.recipe.rundir import read_metrics, write_atomically
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
        if not state.is_world_process_zero:
            return
        earlier = read_metrics(self.file) if state.global_step else []
        kept = [entry for entry in earlier if _stays(entry, state.global_step)]
        if state.global_step and not kept:
            # The checkpoint knows what was logged before it, but for the time.
            kept = [_in_order(entry) for entry in state.log_history]
        write_atomically(self.file, "".join(f"{json.dumps(entry, default=_text)}\n" for entry in kept))

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


def _in_order(entry: dict[str, Any]) -> dict[str, Any]:
    values = {key: _number(value) for key, value in entry.items() if key not in ("step", "epoch")}
    return {"step": entry["step"], "epoch": entry.get("epoch"), **redact_values(values)}


def _number(value: Any) -> Any:
    """JSON has no nan and no infinity; they are written as text rather than as something that is not JSON."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: Any) -> str:
    return redact(str(value))
