"""Runs as a person starts them, and signals as a scheduler or a person sends them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

import hfrecipes
from hfrecipes import RunOptions
from hfrecipes.callbacks.folders import newest_valid
from hfrecipes.recipe.manifest import faults_of

LAUNCHING = Path(__file__).parents[2] / "docs" / "launching.md"
STEPS = 300
RECIPE = f"""
kind: pretrain
model:
  config: {{model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}}
  tokenizer: {{vocab_size: 512}}
data:
  train: [{{name: python_prose, split: train, limit: 30}}]
  context_length: 64
training: {{learning_rate: 3.0e-3, global_batch_size: 4, max_steps: {STEPS}, logging_steps: 1, save_steps: 120}}
"""
# Ends long after any test has looked.
ENDLESS = "training.max_steps=100000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def start(folder: Path, *words: str, program: str = sys.executable, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [program, *words],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_run(folder: Path, name: str, *words: str) -> subprocess.Popen[str]:
    return start(folder, "-m", "hfrecipes", "run", "recipe.yaml", f"name={name}", "--resume", *words)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and what was said; ends the process where it does not end by itself."""
    try:
        _, said = process.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, said


def metrics(run: Path) -> list[dict[str, Any]]:
    file = run / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def losses(run: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in metrics(run) if "loss" in line}


def wait_for_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    limit = time.monotonic() + 90
    while max(losses(run), default=0) < step:
        assert process.poll() is None, process.stderr.read()[-3000:]
        assert time.monotonic() < limit
        time.sleep(0.02)


def facts(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def assert_stopped(run: Path, process: subprocess.Popen[str], name: str) -> int:
    """The step after which a run stopped because of a signal of this name."""
    status, said = finish(process)
    assert status == 75, said[-3000:]
    assert "Traceback" not in said
    step = max(losses(run))
    assert f"{name}: finishing step " in said
    assert said.splitlines()[-1].startswith(f"stopped: {name}") and f"checkpoint-{step}" in said.splitlines()[-1]
    assert facts(run)["status"] == "interrupted"
    assert not faults_of(run / "checkpoints" / f"checkpoint-{step}")
    assert not (run / "model").exists()
    return step


def test_a_terminal_that_closes_is_a_request_to_stop(folder: Path) -> None:
    """As a connection that is lost: the run is hung up, and what it prints from then on has no place to go."""
    ours, its = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hfrecipes", "run", "recipe.yaml", "name=lost", ENDLESS],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TERM": "xterm"},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(its)
    # What is not read would make the run wait.
    reader = threading.Thread(target=drain, args=(ours,), daemon=True)
    reader.start()
    run = folder / "runs" / "lost"
    try:
        wait_for_step(process, run, 5)
        os.close(ours)
        assert process.wait(90) == 75
    finally:
        process.kill()
    found = facts(run)
    assert found["status"] == "interrupted" and "SIGHUP" in found["error"]
    step = max(losses(run))
    assert not faults_of(run / "checkpoints" / f"checkpoint-{step}")


def drain(stream: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(stream, 2**16):
            pass


def test_a_run_stopped_twice_ends_as_if_it_never_was(folder: Path) -> None:
    run, whole = folder / "runs" / "parts", folder / "runs" / "whole"
    # Nothing is there yet: the line that a scheduler repeats is the line that begins.
    process = start_run(folder, "parts")
    wait_for_step(process, run, 20)
    process.send_signal(signal.SIGTERM)
    first = assert_stopped(run, process, "SIGTERM")

    process = start_run(folder, "parts")
    wait_for_step(process, run, first + 20)
    process.send_signal(signal.SIGINT)
    assert assert_stopped(run, process, "SIGINT") > first

    options = RunOptions(runs_dir=folder / "runs", resume=True, quiet=True)
    for name in ("parts", "whole"):
        hfrecipes.run(folder / "recipe.yaml", [f"name={name}"], options)
    assert facts(run)["status"] == "complete"
    assert len(losses(run)) == STEPS
    assert losses(run) == losses(whole)
    weights = "model/model.safetensors"
    assert (run / weights).read_bytes() == (whole / weights).read_bytes()


SLOW = """
import sys, time
from pathlib import Path
from transformers import TrainerCallback
from hfrecipes import build

class Slow(TrainerCallback):
    def on_optimizer_step(self, args, state, control, **_):
        if state.global_step == 130:
            Path("slow").touch()
            for _ in range(600):
                time.sleep(0.1)

session = build("recipe.yaml", ["name=slow"])
session.trainer.add_callback(Slow())
session.train()
"""


def test_a_second_signal_stops_at_once(folder: Path) -> None:
    (folder / "slow.py").write_text(SLOW)
    process = start(folder, "slow.py")
    while not (folder / "slow").exists():
        assert process.poll() is None, process.stderr.read()[-3000:]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    time.sleep(3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == -signal.SIGTERM
    run = folder / "runs" / "slow"
    assert facts(run)["status"] == "running"
    checkpoint, skipped = newest_valid(run / "checkpoints")
    assert (checkpoint.name, skipped) == ("checkpoint-120", {})


def test_a_signal_before_the_first_step_loses_nothing(folder: Path) -> None:
    process = start_run(folder, "early", ENDLESS)
    while "torch/" not in "".join(found.path for found in _opened(process)):
        assert process.poll() is None, process.stderr.read()[-3000:]
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    status, said = finish(process)
    assert status == 75, said[-3000:]
    assert "stopped: SIGTERM" in said
    assert not list((folder / "runs").glob("early/checkpoints/*"))


def _opened(process: subprocess.Popen[str]) -> list[Any]:
    try:
        return psutil.Process(process.pid).memory_maps()
    except psutil.Error:
        return []


def test_the_parent_of_a_launcher_passes_signals_on(folder: Path) -> None:
    run = folder / "runs" / "two"
    process = start_run(folder, "two", ENDLESS, "--launcher", "cpu", "--num-processes", "2")
    wait_for_step(process, run, 5)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 3
    process.send_signal(signal.SIGTERM)
    status, said = finish(process)
    step = max(losses(run))
    assert status == 75, said[-3000:]
    assert said.splitlines()[-1].startswith("stopped: SIGTERM") and f"checkpoint-{step}" in said.splitlines()[-1]
    assert facts(run)["status"] == "interrupted"
    assert not faults_of(run / "checkpoints" / f"checkpoint-{step}")
    assert not [member for member in family if member.is_running()]


STANDINS = {
    "srun": 'shift; exec "$@"',
    "squeue": "echo RUNNING",
    "scontrol": 'echo "$@" > requeued',
}


def test_the_script_for_slurm_requeues_a_job_that_was_stopped(folder: Path) -> None:
    (script,) = re.findall(r"^```bash\n(.*?)^```", LAUNCHING.read_text(), flags=re.MULTILINE | re.DOTALL)
    script, count = re.subn(r"run sft/\S+ --launcher .* --resume", f"run recipe.yaml {ENDLESS} --resume", script)
    assert count == 1
    (folder / "job.sh").write_text(script)
    for name, text in STANDINS.items():
        (folder / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    process = start(folder, "job.sh", program="bash", PATH=path, SLURM_JOB_ID="17")
    run = folder / "runs" / "recipe"
    wait_for_step(process, run, 5)
    process.send_signal(signal.SIGTERM)
    assert_stopped(run, process, "SIGTERM")
    assert (folder / "requeued").read_text() == "requeue 17\n"


def test_a_second_signal_to_the_parent_of_a_launcher_kills_all(folder: Path) -> None:
    process = start_run(folder, "two", ENDLESS, "--launcher", "cpu", "--num-processes", "2")
    wait_for_step(process, folder / "runs" / "two", 1)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGUSR1)
    process.send_signal(signal.SIGTERM)
    status, said = finish(process)
    assert status == -signal.SIGTERM, said[-3000:]
    psutil.wait_procs(family, timeout=10)
    assert not [member for member in family if member.is_running()]
