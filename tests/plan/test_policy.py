"""What the plan of a policy counts, by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hfrecipes.plan import policy
from hfrecipes.plan.flops import TokenFlops
from hfrecipes.plan.plan import make_plan
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.resolve import BatchSplit, resolve

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)
RECIPE = """\
kind: ppo
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2,
           max_position_embeddings: 128, vocab_size: 300}
  tokenizer: {vocab_size: 300}
rewards: [{function: "hfrecipes.rewards:python_parses"}]
data: {train: [{name: python_docstrings, split: train, limit: 40}]}
training: {global_batch_size: 8, num_mini_batches: 2, num_ppo_epochs: 3, response_length: 16, max_prompt_length: 48}
"""


def planned(tmp_path: Path, *overrides: str) -> dict:
    (tmp_path / "r.yaml").write_text(RECIPE)
    return make_plan(load_recipe(tmp_path / "r.yaml", list(overrides)), CPU).to_dict()


def test_the_defaults_are_those_of_the_config() -> None:
    from hfrecipes.recipe import resolve as resolving
    from hfrecipes.trainers.ppo.config import PPOConfig

    known = {field.name: field.default for field in dataclasses.fields(PPOConfig)}
    assert (known["response_length"], known["kl_coef"]) == (policy.RESPONSE_LENGTH, policy.KL_COEF)
    assert (known["local_rollout_forward_batch_size"], known["value"]) == (policy.FORWARD_BATCH, policy.VALUE)
    assert known["num_ppo_epochs"] == resolving.NUM_PPO_EPOCHS
    assert known["num_mini_batches"] == resolving.NUM_MINI_BATCHES
    assert known["learning_rate"] == resolving.POLICY_RATE


def test_steps_are_whole_rollouts_and_each_is_learnt_from_several_times(tmp_path: Path) -> None:
    # 40 prompts are three rollouts of 16, each of 6 steps.
    plan = planned(tmp_path, "training.num_train_epochs=1")
    assert plan["steps"] == 18 and plan["batch"]["row_tokens"] == 64
    assert planned(tmp_path, "training.max_steps=7")["steps"] == 12
    assert planned(tmp_path, "training.total_episodes=33")["steps"] == 18


def test_episodes_become_steps_when_a_recipe_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = resolve(load_recipe(tmp_path / "r.yaml", ["training.total_episodes=33"]), CPU)
    assert recipe.get("training.max_steps") == 18 and recipe.get("training.total_episodes") is None
    assert resolve(recipe, CPU).values == recipe.values
    assert recipe.get("training.max_length") is None


@pytest.mark.parametrize(
    ("words", "forward", "backward"),
    [
        # Of three passes: drawing, scoring and the reference, a third each; and the pass itself.
        ([], 1 + 3 / 3, 2),
        (["training.kl_coef=0"], 1 + 2 / 3, 2),
        (["training.value=model"], 2 + 4 / 3, 4),
    ],
)
def test_drawing_and_scoring_are_counted_once_for_all_passes(
    words: list[str], forward: float, backward: float, tmp_path: Path
) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "r.yaml", words)
    rollouts = policy.rollout_plan(recipe, BatchSplit(8, 8, 1))
    assert rollouts is not None and (rollouts.answers, rollouts.steps) == (16, 6)
    found = policy.policy_flops(recipe, TokenFlops(1.0, 2.0), rollouts)
    assert (found.forward, found.backward) == (pytest.approx(forward), pytest.approx(backward))


def test_memory_has_the_reference_the_values_and_the_rollout(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    total, hidden, layers = plan["parameters"]["total"], 32, 2
    memory = plan["memory"]
    assert memory["reference"] == 4 * total and memory["rewards"] == 0
    assert memory["values"] == 16 * (hidden + 1)
    kept, cache = 16 * (8 * 64 + 4 * 8 * 16), 16 * 64 * layers * 2 * hidden * 4
    assert memory["rollout"] == kept + cache
    assert planned(tmp_path, "adapter={method: lora}")["memory"]["reference"] == 0
    assert planned(tmp_path, "training.kl_coef=0")["memory"]["reference"] == 0


def test_reward_models_are_counted_or_named(tmp_path: Path) -> None:
    folder = tmp_path / "judge"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    assert planned(tmp_path, "rewards=[{model: judge}]")["memory"]["rewards"] == 1000
    problems = planned(tmp_path, "rewards=[{model: some/judge}]")["problems"]
    assert [each for each in problems if "some/judge is not counted" in each["message"]]
