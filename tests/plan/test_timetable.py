"""What a recipe dates by steps, against the steps that the run has."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes.plan.plan import make_plan
from hfrecipes.plan.timetable import timetable_problems
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import load_recipe

RECIPE = """\
kind: pretrain
model: {config: {model_type: llama, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}, tokenizer: {vocab_size: 300}}
data:
  train: [{name: python_prose, split: train}]
  eval: [{name: python_prose, split: validation}]
  context_length: 64
training:
  max_steps: 20
  global_batch_size: 2
  eval_strategy: steps
"""


def faults(folder: Path, *lines: str, steps: int = 20) -> list[str]:
    file = folder / "recipe.yaml"
    file.write_text(RECIPE + "".join(f"  {line}\n" for line in lines))
    return [str(problem) for problem in timetable_problems(load_recipe(file), steps)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("warmup_steps: 20", "training.warmup_steps is 20; the learning rate rises for 20 steps and the run has 20"),
        ("warmup_steps: 80", "it ends at 25% of training.learning_rate"),
        ("eval_steps: 21", "data.eval is measured at the end alone"),
        ("logging_steps: 500", "metrics.jsonl gets no line"),
    ],
)
def test_what_never_comes_is_said_with_its_line(line: str, said: str, tmp_path: Path) -> None:
    (problem,) = faults(tmp_path, line)
    assert said in problem and "recipe.yaml:11" in problem and "warning" in problem


@pytest.mark.parametrize(
    "line", ["warmup_steps: 19", "warmup_steps: 0.9", "eval_steps: 20", "eval_steps: 0.5", "logging_steps: 20"]
)
def test_what_comes_in_time_is_no_problem(line: str, tmp_path: Path) -> None:
    assert faults(tmp_path, line) == []


def test_what_is_not_done_by_steps_cannot_be_late(tmp_path: Path) -> None:
    assert faults(tmp_path, "logging_strategy: epoch", "logging_steps: 500") == []


def test_the_plan_says_it(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE + "  warmup_steps: 80\n")
    hardware = Hardware(device="cpu", name="cpu", count=1, memory_bytes=2**34, bf16=False, flash_attention=False)
    assert any("warmup_steps" in problem.message for problem in make_plan(load_recipe(file), hardware, 1).problems)
