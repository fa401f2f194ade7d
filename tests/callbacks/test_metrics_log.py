"""`metrics.jsonl` and the progress that a person sees."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
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


@pytest.mark.parametrize("garbage", ["{", "null", "[1]", "{}", '{"loss": 1}', '{"step": "2"}', '{"step": 1}}', "\x00}"])
def test_damaged_lines_do_not_stop_a_resume_and_go(tmp_path: Path, garbage: str) -> None:
    file = tmp_path / "metrics.jsonl"
    callback = MetricsLogCallback(file)
    callback.on_log(None, state(1), None, {"loss": 1.0})
    with file.open("a") as log:
        log.write(f"{garbage}\n")
    callback.on_log(None, state(2), None, {"loss": 2.0})
    callback.on_train_begin(None, state(2), None)
    assert [line["step"] for line in read(file)] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_no_secret_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, token = tmp_path / "metrics.jsonl", "hf_" + "q" * 34
    monkeypatch.setenv("ODD_SECRET", odd := "not of any form: é")
    logs = {"note": f"at {token}", f"eval_{token}_loss": 1.0, "deep": {"list": [odd]}, "path": tmp_path / token}
    MetricsLogCallback(file).on_log(None, state(1), None, logs)
    text = file.read_text()
    assert token not in text
    assert odd not in text
    assert json.dumps(odd)[1:-1] not in text
    (line,) = read(file)
    assert line["deep"] == {"list": ["<redacted: the value of ODD_SECRET>"]}


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
