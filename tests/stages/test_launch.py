"""`--launcher` prints and runs a line that anyone could have typed."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hfrecipes.recipe.problem import RecipeError
from hfrecipes.stages.launch import find_launcher, launch_command
from tests.stages.test_batches import PRETRAIN


def arguments(**changes: object) -> argparse.Namespace:
    words = {"recipe": "r.yaml", "overrides": ["a.b=1"], "runs_dir": Path("runs")}
    return argparse.Namespace(
        **{**words, "smoke": False, "resume": False, "overwrite": False, "quiet": False, **changes}
    )


def test_the_line() -> None:
    command = launch_command(find_launcher("fsdp2"), 8, arguments(resume=True))
    assert command[:2] == ["accelerate", "launch"]
    assert command[command.index("--num_processes") + 1] == "8"
    assert command[command.index("-m") :] == ["-m", "hfrecipes", "r.yaml", "a.b=1", "--runs-dir", "runs", "--resume"]


def test_an_unknown_launcher_is_named_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"did you mean fsdp2\?"):
        find_launcher("fsdp3")


def test_two_processes_through_the_verb(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(PRETRAIN)
    command = [sys.executable, "-m", "hfrecipes", "run", "recipe.yaml", "--launcher", "cpu", "--num-processes", "2"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    printed = next(line for line in result.stderr.splitlines() if line.startswith("accelerate launch"))
    assert shlex.split(printed)[-5:] == ["-m", "hfrecipes", "recipe.yaml", "--runs-dir", "runs"]
    facts = json.loads((tmp_path / "runs" / "recipe" / "run.json").read_text())
    assert facts["hardware"]["world_size"] == 2
    assert facts["status"] == "complete"


def test_the_cpu_flag_that_starts_one_process_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(PRETRAIN)
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--cpu", "--num_processes", "2"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [*launch, "-m", "hfrecipes", "recipe.yaml"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "2 processes were asked for, 1 started" in result.stderr
    assert not (tmp_path / "runs").exists()
