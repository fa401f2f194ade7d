"""Multi-token prediction sharded by FSDP2 gives the losses, gradients and models of one process. GPUs were not tried."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from torch import nn
from transformers import AutoModelForCausalLM

from hfrecipes import load_mtp
from tests.trainers.mtp_fsdp_worker import SCENES, train, write_bases

# Starts two processes that shard four models: some 25 CPU seconds.
pytestmark = pytest.mark.matrix


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what two processes found and saved."""
    folder = tmp_path_factory.mktemp("two")
    write_bases(folder)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    worker = [str(Path(__file__).with_name("mtp_fsdp_worker.py")), str(folder)]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    done = subprocess.run([*launch, *worker], env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The same of one process, in batches of eight."""
    folder = tmp_path_factory.mktemp("one")
    write_bases(folder)
    return folder, {scene: train(scene, 8, folder) for scene in SCENES}


def by_name(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def assert_close(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert float((got[name] - tensor).norm()) <= 2e-6 * float(tensor.norm()) + 1e-9, name


@pytest.mark.parametrize("scene", list(SCENES))
def test_two_sharded_processes_are_one(scene: str, two: Path, one: tuple[Path, dict[str, Any]]) -> None:
    got, wanted = torch.load(two / f"{scene}.pt", weights_only=False), one[1][scene]
    assert got["world_size"] == 2
    # The model as a whole, its layers and the layers of the heads; of a model in one process none.
    assert len(got["parts"]) == 5
    assert not wanted["parts"]
    for ours, theirs in zip(got["gradients"], wanted["gradients"], strict=True):
        assert_close(ours, theirs)
    for ours, theirs in zip(got["log"], wanted["log"], strict=True):
        losses = {name for name in theirs if name == "loss" or "_head_" in name}
        assert {name: ours[name] for name in losses} == pytest.approx({name: theirs[name] for name in losses}, rel=2e-6)


@pytest.mark.parametrize("scene", list(SCENES))
def test_what_was_saved_in_parts_loads_whole(scene: str, two: Path, one: tuple[Path, dict[str, Any]]) -> None:
    plain = AutoPeftModelForCausalLM if scene == "lora" else AutoModelForCausalLM
    for load in (plain.from_pretrained, load_mtp):
        assert_close(by_name(load(two / scene)), by_name(load(one[0] / scene)))
