"""Multi-token prediction in micro-batches and on two processes gives the losses and gradients of one batch in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trainers.mtp_worker import SCENES, STEPS, train


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what two processes found, that accelerate launched."""
    folder = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    worker = [str(Path(__file__).with_name("mtp_worker.py")), str(folder)]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    command = [*launch, "--num_processes", "2", "--main_process_port", "0", *worker]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def compare(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert len(got["gradients"]) == len(wanted["gradients"]) == STEPS
    for one, other in zip(got["gradients"], wanted["gradients"], strict=True):
        assert one.keys() == other.keys()
        for name, gradient in one.items():
            assert float((gradient - other[name]).norm()) <= 1e-6 * float(other[name].norm()), name
    for one, other in zip(got["log"], wanted["log"], strict=True):
        logged = {name for name in one if name == "loss" or "_head_" in name}
        assert logged == {name for name in other if name == "loss" or "_head_" in name}
        assert {name: one[name] for name in logged} == pytest.approx({name: other[name] for name in logged}, rel=2e-6)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What one process finds in batches of eight."""
    return {scene: train(scene, 8, tmp_path_factory.mktemp("whole")) for scene in SCENES}


@pytest.mark.parametrize("scene", list(SCENES))
def test_two_processes_with_uneven_masks_are_one(scene: str, two: Path, whole: dict[str, Any]) -> None:
    got = torch.load(two / f"{scene}.pt", weights_only=False)
    assert got["world_size"] == 2
    compare(got, whole[scene])


@pytest.mark.parametrize("scene", list(SCENES))
def test_four_micro_batches_of_two_are_one_of_eight(scene: str, whole: dict[str, Any], tmp_path: Path) -> None:
    compare(train(scene, 2, tmp_path), whole[scene])
    further = [any("mtp_heads." in name for name in gradients) for gradients in whole[scene]["gradients"]]
    assert further == ([False, True] if scene == "curriculum" else [True, True])
