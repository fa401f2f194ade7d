"""Recipes of kind `reward` and `dpo` on a few rows, small enough to be trained whole in a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hfrecipes import RunDir, RunOptions, build, load_recipe, run

MODEL = """
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2,
           max_position_embeddings: 160}
  tokenizer: {vocab_size: 320}
"""
TRAINING = (
    "{learning_rate: 5.0e-3, global_batch_size: 4, max_steps: 6, logging_steps: 1, save_steps: 3, max_length: 64MORE}"
)
BASE = f"""
kind: pretrain
{MODEL}
data: {{train: [{{path: text.jsonl}}], context_length: 32}}
training: {{learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 2, logging_steps: 1}}
evaluation: {{samples: 0}}
"""
PAIRS = "{train: [{path: pairs.jsonl}], eval: [{path: held-out.jsonl}]}"
RECIPES = {
    "base.yaml": BASE,
    "reward.yaml": f"""
kind: reward
model: {{name_or_path: runs/base/model}}
data: {{train: [{{path: pairs.jsonl}}, {{path: rankings.jsonl}}], eval: [{{path: held-out.jsonl}}]}}
training: {TRAINING.replace("MORE", ", center_rewards_coefficient: 0.01")}
""",
    "dpo.yaml": f"""
kind: dpo
model: {{name_or_path: runs/base/model}}
data: {PAIRS}
training: {TRAINING.replace("MORE", "")}
evaluation: {{samples: 1}}
""",
    "kto.yaml": f"""
kind: kto
model: {{name_or_path: runs/base/model}}
data: {{train: [{{path: pairs.jsonl}}, {{path: judged.jsonl}}], eval: [{{path: held-out.jsonl}}]}}
training: {TRAINING.replace("MORE", "")}
evaluation: {{samples: 1}}
""",
    "orpo.yaml": f"""
kind: orpo
model: {{name_or_path: runs/base/model}}
data: {PAIRS}
training: {TRAINING.replace("MORE", "")}
evaluation: {{samples: 1}}
""",
}
QUIET = RunOptions(quiet=True)


def write_all(folder: Path) -> None:
    """The recipes and their rows."""
    for name, text in RECIPES.items():
        (folder / name).write_text(text)
    answers = [f" {number * 3}" + "!" * (number % 4) for number in range(40)]
    pairs = [
        {"prompt": f"What is {n} times 3?", "chosen": answers[n], "rejected": f" {n * 7 + 1}?", "margin": 0.1 * (n % 3)}
        for n in range(22)
    ]
    rankings = [
        {
            "prompt": f"And {n}?",
            "responses": [answers[n], f" {n}.", f" {n + 1}..", " No"],
            "scores": [4, 2, 2, 1 - n % 2],
        }
        for n in range(5)
    ]
    held_out = [{"prompt": f"So {n}?", "chosen": answers[n], "rejected": f" {n}?"} for n in range(30, 37)]
    judged = [{"prompt": f"And {n}?", "completion": f" {n * 3}", "label": n % 3 > 0} for n in range(9)]
    text = [{"text": f"What is {n} times 3? It is {n * 3}. " * 3} for n in range(12)]
    for name, rows in {
        "pairs": pairs,
        "rankings": rankings,
        "held-out": held_out,
        "judged": judged,
        "text": text,
    }.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def trained(recipe: str, *overrides: str, resume: bool = False) -> RunDir:
    """Runs a recipe of the working directory to its end."""
    options = RunOptions(quiet=True, resume=resume)
    return RunDir(run(load_recipe(recipe, list(overrides)), options=options))


def built(recipe: str, *overrides: str) -> Any:
    """The trainer of a recipe of the working directory."""
    return build(load_recipe(recipe, list(overrides)), options=QUIET).trainer


def losses(run_dir: RunDir, name: str = "loss") -> list[float]:
    return [entry[name] for entry in run_dir.metrics() if name in entry]
