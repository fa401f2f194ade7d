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

from hfrecipes.cli.main import main
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.stages.launch import find_launcher, launch_command

PRETRAIN = """
kind: pretrain
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 512}
data:
  train: [{name: python_prose, split: train, limit: 30}]
  context_length: 64
training: {learning_rate: 3.0e-3, global_batch_size: 8, max_steps: 4, logging_steps: 1, save_strategy: "no"}
"""

FLAGS = {"smoke": False, "resume": False, "overwrite": False, "quiet": False, "allow_change": []}


def arguments(**changes: object) -> argparse.Namespace:
    words = {"recipe": "r.yaml", "overrides": ["a.b=1"], "runs_dir": Path("runs")}
    return argparse.Namespace(**{**words, **FLAGS, **changes})


def test_the_line() -> None:
    command = launch_command(find_launcher("fsdp2"), 8, arguments(resume=True))
    assert command[:2] == ["accelerate", "launch"]
    assert command[command.index("--num_processes") + 1] == "8"
    assert command[command.index("-m") :] == ["-m", "hfrecipes", "r.yaml", "a.b=1", "--runs-dir", "runs", "--resume"]


def test_changes_that_are_allowed_reach_the_workers() -> None:
    command = launch_command(find_launcher("cpu"), 2, arguments(resume=True, allow_change=["a.b", "c"]))
    assert command[-5:] == ["--resume", "--allow-change", "a.b", "--allow-change", "c"]


def test_an_unknown_launcher_is_named_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"did you mean fsdp2\?"):
        find_launcher("fsdp3")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("kind: pretrain\n", "distributed_type"),
        ("distributed_type: MULTI_GPU\nnum_proceses: 2\n", "num_proceses"),
        ("distributed_type: MULTI_GPU\nnum_machines: two\n", "num_machines"),
        ("distributed_type: [MULTI_GPU\n", "launcher.yaml:"),
        ("- 1\n", "not an accelerate configuration"),
        ("", "not an accelerate configuration"),
    ],
)
def test_a_file_that_is_no_configuration_of_accelerate_is_refused(text: str, fault: str, tmp_path: Path) -> None:
    file = tmp_path / "launcher.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError, match=fault) as caught:
        find_launcher(str(file))
    assert str(caught.value).startswith(str(file))


def test_a_file_of_ones_own_is_taken() -> None:
    file = find_launcher("cpu")
    assert find_launcher(str(file)) == file


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--allow-change", "training.max_steps"], "say --resume too"),
        (["--resume", "--overwrite"], "contradict each other"),
    ],
)
@pytest.mark.parametrize("launcher", [[], ["--launcher", "cpu"]])
def test_options_that_contradict_are_refused_before_anything_starts(
    words: list[str], fault: str, launcher: list[str], capfd: pytest.CaptureFixture
) -> None:
    assert main(["run", "no-such-recipe.yaml", *words, *launcher]) == 2
    assert fault in capfd.readouterr().err


def test_two_processes_through_the_verb(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(PRETRAIN)
    command = [sys.executable, "-m", "hfrecipes", "run", "recipe.yaml", "--launcher", "cpu", "--num-processes", "2"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    printed = next(line for line in result.stderr.splitlines() if "accelerate launch" in line)
    assert printed.startswith("TORCH_ELASTIC_SHUTDOWN_TIMEOUT=")
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
