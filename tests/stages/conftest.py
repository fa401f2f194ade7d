"""A tiny pipeline, run once for all tests of a module that look at what it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes import RunOptions, load_recipe, run

BASE = """
kind: pretrain
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 512}
data:
  train: [{name: python_prose, split: train, limit: 30}]
  eval: [{name: python_prose, split: validation, limit: 6}]
  context_length: 512
training: {learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 6, logging_steps: 1, save_steps: 2}
evaluation: {samples: 1}
"""
TUNED = """
kind: sft
model: {name_or_path: set-by-the-pipeline}
adapter: {method: lora, r: 4, lora_alpha: 8}
data:
  train: [{name: python_docstrings, split: train, limit: 24}]
  test: [{name: python_docstrings, split: test, limit: 8}]
training: {learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 4, logging_steps: 1, save_steps: 2, max_length: 512}
evaluation: {task: {metric: docstring_f1, num_rows: 4, num_shots: 1, max_new_tokens: 8}, samples: 1}
"""
PIPELINE = """
kind: pipeline
steps:
  - {name: base, recipe: base.yaml}
  - name: loop
    rounds: 2
    steps:
      - name: tuned
        recipe: tuned.yaml
        with: {model.name_or_path: "${steps.base.model}", training.learning_rate: 1.0e-3}
"""


def write_recipes(folder: Path) -> Path:
    (folder / "base.yaml").write_text(BASE)
    (folder / "tuned.yaml").write_text(TUNED)
    (folder / "all.yaml").write_text(PIPELINE)
    return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of the finished pipeline; its recipes lie in the folder above `runs`. Tests do not change it."""
    folder = write_recipes(tmp_path_factory.mktemp("pipeline"))
    return run(load_recipe(folder / "all.yaml"), options=RunOptions(runs_dir=folder / "runs", quiet=True))
