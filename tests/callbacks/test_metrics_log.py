"""`metrics.jsonl` and the progress that a person sees."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

from rich.console import Console

from hfrecipes.callbacks.metrics_log import MetricsLogCallback
from hfrecipes.callbacks.progress import ProgressCallback


def state(step: int) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, epoch=step / 10, is_world_process_zero=True, max_steps=10)


def read(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_resume_drops_the_lines_that_are_run_again(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    callback = MetricsLogCallback(file)
    for step in (1, 2, 3):
        callback.on_log(None, state(step), None, {"loss": float(step)})
    file.open("a").write('{"step": 4, "lo')
    callback.on_train_begin(None, state(2), None)
    callback.on_log(None, state(3), None, {"loss": 30.0})
    assert [(line["step"], line["loss"]) for line in read(file)] == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_a_new_run_begins_a_new_file(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    callback = MetricsLogCallback(file)
    callback.on_log(None, state(1), None, {"loss": 1.0})
    callback.on_train_begin(None, state(0), None)
    assert read(file) == []


def test_numbers_that_json_lacks_are_text(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    MetricsLogCallback(file).on_log(None, state(1), None, {"loss": float("nan"), "grad_norm": float("inf")})
    (line,) = read(file)
    assert (line["loss"], line["grad_norm"]) == ("nan", "inf")


def test_progress_on_a_pipe_and_on_a_terminal() -> None:
    for terminal in (False, True):
        out = io.StringIO()
        callback = ProgressCallback("sft x", 100.0, Console(file=out, force_terminal=terminal, width=200))
        callback.on_train_begin(None, state(0), None)
        callback.on_log(None, state(5), None, {"loss": 2.5, "eval_x_loss": 3.25, "learning_rate": 1.0})
        callback.on_step_end(None, state(5), None)
        callback.on_train_end(None, state(10), None)
        shown = out.getvalue()
        assert "sft x" in shown
        assert "loss 2.500" in shown
        assert "eval_x_loss 3.250" in shown
