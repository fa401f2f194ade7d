"""The same global batch gives the same losses however it is divided: micro-batches, accumulation, processes; through the CLI."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
SFT = """
kind: sft
model:
  config: {model_type: qwen2, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 512}
data:
  train: [{name: python_docstrings, split: train, limit: 22}]
adapter: {method: lora, r: 4}
training: {learning_rate: 3.0e-3, global_batch_size: 8, max_steps: 4, logging_steps: 1, save_strategy: "no", max_length: 512}
"""
RECIPES = {"pretrain": PRETRAIN, "sft": SFT}


def run(folder: Path, name: str, micro: int, processes: int) -> dict:
    """Runs the recipe as a person would; returns run.json with the losses under `losses`."""
    worker = [
        "-m",
        "hfrecipes",
        "recipe.yaml",
        f"name={name}",
        f"training.per_device_train_batch_size={micro}",
        "--quiet",
    ]
    command = [sys.executable, *worker]
    if processes > 1:
        launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
        command = [*launch, "--num_processes", str(processes), "--main_process_port", "0", *worker]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    run_dir = folder / "runs" / name
    facts = json.loads((run_dir / "run.json").read_text())
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return {**facts, "losses": [line["loss"] for line in lines if "loss" in line]}


@pytest.mark.parametrize("kind", RECIPES)
def test_one_batch_many_ways(kind: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPES[kind])
    whole = run(tmp_path, "whole", micro=8, processes=1)
    assert len(whole["losses"]) == 4
    split = run(tmp_path, "split", micro=1, processes=1)
    assert split["training"]["accumulation_steps"] == 8
    assert split["losses"] == pytest.approx(whole["losses"], rel=1e-5)
    two = run(tmp_path, "two", micro=2, processes=2)
    assert two["hardware"]["world_size"] == 2
    assert two["training"]["accumulation_steps"] == 2
    assert two["losses"] == pytest.approx(whole["losses"], rel=1e-4)
    assert two["training"]["tokens"] == whole["training"]["tokens"]
