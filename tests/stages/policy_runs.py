"""Recipes of kind `ppo` on a few prompts, small enough to be trained whole in a test."""

from __future__ import annotations

import json
from pathlib import Path

from tests.stages import preference_runs

TRAINING = (
    "{learning_rate: 2.0e-3, global_batch_size: 4, num_mini_batches: 2, num_ppo_epochs: 2, max_steps: 12, logging_steps: 1, "
    "save_steps: 4, response_length: 6, temperature: 1.0, missing_eos_penalty: null}"
)
REWARDS = """
rewards:
  - {function: "policy_rewards:evens", weight: 2.0}
  - {function: "policy_rewards:Near", to: 4, weight: 0.5}
"""
PPO = f"""
kind: ppo
model: {{name_or_path: runs/base/model}}
{REWARDS}
data: {{train: [{{path: prompts.jsonl}}], eval: [{{path: asked.jsonl}}]}}
training: {TRAINING}
evaluation: {{samples: 1}}
"""
# A file beside the recipe: one function, which reads a column of the data, and one class with a word.
FUNCTIONS = """
class Near:
    def __init__(self, to):
        self.to = to

    def __call__(self, prompts, completions, completion_ids, **columns):
        return [-abs(len(ids) - self.to) / self.to for ids in completion_ids]


def evens(prompts, completions, completion_ids, factor, **columns):
    return [f * sum(token % 2 == 0 for token in ids) / len(ids) for ids, f in zip(completion_ids, factor)]
"""


def write_all(folder: Path) -> None:
    """The recipes, their rows and their rewards, those of preferences included."""
    preference_runs.write_all(folder)
    (folder / "ppo.yaml").write_text(PPO)
    (folder / "policy_rewards.py").write_text(FUNCTIONS)
    for name, numbers in {"prompts": range(22), "asked": range(30, 37)}.items():
        rows = [{"prompt": f"What is {n} times 3?", "factor": 1.0 + n % 2} for n in numbers]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


# Six answers are drawn at a time: two prompts, learnt from twice in steps of four, so that a rollout is three steps.
GROUPS = (
    "{learning_rate: 2.0e-3, num_generations: 3, generation_batch_size: 6, num_iterations: 2, global_batch_size: 4, "
    "per_device_train_batch_size: 2, per_device_eval_batch_size: 3, max_steps: 8, logging_steps: 1, save_steps: 2, "
    "eval_strategy: 'no', max_completion_length: 6, beta: 0.1}"
)


def write_groups(folder: Path) -> None:
    """Recipes of GRPO and RLOO on the same rows and rewards."""
    for kind in ("grpo", "rloo"):
        text = PPO.replace("kind: ppo", f"kind: {kind}").replace(TRAINING, GROUPS)
        (folder / f"{kind}.yaml").write_text(text)
