"""Runs on a disk of a few MiB that is too small, or fills up: through the command line, on a real file system.

Each test is run once more in a process of its own, in a mount namespace with a small tmpfs, which needs no privileges where user
namespaces are allowed, and leaves nothing behind.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.callbacks.folders import list_checkpoints, newest_valid
from hfrecipes.recipe.rundir import RunDir
from tests.conftest import REPOSITORY

MIB = 2**20
DISK_BYTES = 11 * MIB
LIMIT = "training.save_total_limit=2"
WEIGHTS = "model.safetensors"
# A checkpoint of it takes 2.6 MiB.
RECIPE = """
kind: pretrain
name: tiny
model:
  config: {model_type: llama, hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 1024}
data:
  train: [{name: python_prose, split: train, limit: 30}]
  context_length: 64
training: {learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 8, logging_steps: 1, save_steps: 2}
evaluation: {samples: 0}
publish: {card: false}
"""
# The command line in a process whose writer of `moment` finds the disk filled, but for `left` bytes, by somebody else.
FILLED = """
import os, shutil, sys
moment, left, disk = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def filling(write):
    def filled(what, path, *args, **kwargs):
        if moment in str(path) and not os.path.exists(f"{disk}/ballast"):
            with open(f"{disk}/ballast", "wb") as ballast:
                os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(disk).free - left)
        return write(what, path, *args, **kwargs)
    return filled

import safetensors.torch, torch
torch.save, safetensors.torch.save_file = filling(torch.save), filling(safetensors.torch.save_file)
from hfrecipes.cli.main import main
sys.exit(main(sys.argv[4:]))
"""


def on_small_disk(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test in a process that sees a tmpfs of `DISK_BYTES` at `disk`."""

    @functools.wraps(test)
    def elsewhere(**fixtures: Any) -> None:
        if "SMALL_DISK" in os.environ:
            test(**fixtures)
            return
        disk, name = fixtures["disk"], os.environ["PYTEST_CURRENT_TEST"].partition("::")[2].rpartition(" ")[0]
        result = subprocess.run(
            [*_NAMESPACE, _MOUNT, disk, *_PYTEST, f"--basetemp={disk}-pytest", f"{__file__}::{name}"],
            cwd=REPOSITORY,
            env={**os.environ, "SMALL_DISK": str(disk), "FINISHED_RUN": str(fixtures.get("finished", ""))},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout + result.stderr

    return elsewhere


_PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
_MOUNT = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" && exec "$@"'


def can_mount() -> bool:
    command = [*_NAMESPACE, "mount -t tmpfs tmpfs /tmp"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not can_mount(), reason="no file system may be mounted here")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    if "SMALL_DISK" in os.environ:
        return Path(os.environ["SMALL_DISK"])
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, undisturbed, on an ordinary disk."""
    if "FINISHED_RUN" in os.environ:
        return Path(os.environ["FINISHED_RUN"])
    runs = tmp_path_factory.mktemp("finished")
    result = hfrecipes(runs, LIMIT)
    assert result.returncode == 0, result.stderr
    return runs / "tiny"


def hfrecipes(
    runs: Path, *words: str, start: tuple[str, ...] = ("-m", "hfrecipes.cli.main")
) -> subprocess.CompletedProcess:
    """`hfrecipes run` of the recipe; `start` is what Python is given before."""
    recipe = runs.parent / f"{runs.name}-tiny.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    command = [sys.executable, *start, "run", recipe, "--runs-dir", runs, "--quiet", *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=100)


def fill_and_run(disk: Path, moment: str, left: int, *words: str) -> subprocess.CompletedProcess:
    start = ("-c", FILLED, moment, str(left), str(disk))
    return hfrecipes(disk, LIMIT, *words, start=start)


def losses(run: RunDir) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in run.metrics() if "loss" in line]


def assert_stopped(result: subprocess.CompletedProcess, disk: Path, last: str) -> str:
    """The run said why it ended, and `last` is a checkpoint to go on from; returns what was said."""
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    assert last in result.stderr and "--resume" in result.stderr
    newest, skipped = newest_valid(disk / "tiny" / "checkpoints")
    assert newest is not None and newest.name == last
    assert not skipped
    return result.stderr


@on_small_disk
def test_a_run_that_does_not_fit_is_refused_before_it_is_begun(disk: Path) -> None:
    """Four checkpoints of 2.6 MiB and a model. The limit that is advised is that of the run below, which fits."""
    result = hfrecipes(disk)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "MiB are free on" in result.stderr and "training.save_total_limit: 2" in result.stderr
    assert not [path for path in disk.rglob("*") if path.is_file()]


@on_small_disk
def test_a_run_whose_disk_fills_up_again_and_again_ends_like_one_whose_disk_never_did(
    disk: Path, finished: Path
) -> None:
    checkpoints, facts = disk / "tiny" / "checkpoints", RunDir(disk / "tiny").facts

    # Inside a save, where torch does not say what happened.
    said = assert_stopped(fill_and_run(disk, "checkpoint-4/optimizer.pt", 64 * 1024), disk, "checkpoint-2")
    assert "filled up while checkpoint-4 was written" in said
    assert [folder.name for folder in list_checkpoints(checkpoints)] == ["checkpoint-2"]
    assert facts()["status"] == "failed" and "checkpoint-4" in facts()["error"]
    (disk / "ballast").unlink()

    # Between saves: room to complete checkpoint-4, too little to begin the next.
    said = assert_stopped(
        fill_and_run(disk, "checkpoint-4/rng_state.pth", 3 * MIB // 2, "--resume"), disk, "checkpoint-4"
    )
    assert "no room for checkpoint-6" in said
    assert not (checkpoints / "checkpoint-6").exists()
    (disk / "ballast").unlink()

    # In the final model, where safetensors does; not a byte is left, so run.json cannot be written either.
    assert_stopped(fill_and_run(disk, ".model.part/model.safetensors", 0, "--resume"), disk, "checkpoint-8")
    assert not (disk / "tiny" / "model").exists()
    (disk / "ballast").unlink()

    result = hfrecipes(disk, LIMIT, "--resume")
    assert result.returncode == 0, result.stderr
    run, undisturbed = RunDir(disk / "tiny"), RunDir(finished)
    assert run.facts()["status"] == "complete"
    assert (run.model / WEIGHTS).read_bytes() == (undisturbed.model / WEIGHTS).read_bytes()
    assert losses(run) == losses(undisturbed)
