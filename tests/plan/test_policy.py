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
    from hfrecipes.recipe.answer_words import ANSWER_LENGTHS, NUM_GENERATIONS, PRICES
    from hfrecipes.trainers.groups.config import RecipeGRPOConfig, RecipeRLOOConfig
    from hfrecipes.trainers.ppo.config import PPOConfig

    classes = {"ppo": PPOConfig, "grpo": RecipeGRPOConfig, "rloo": RecipeRLOOConfig}
    for kind, cls in classes.items():
        known = {field.name: field.default for field in dataclasses.fields(cls)}
        for word, default in (ANSWER_LENGTHS[kind], PRICES[kind]):
            assert known[word] == default
        assert known.get("num_generations") == NUM_GENERATIONS.get(kind)
    known = {field.name: field.default for field in dataclasses.fields(PPOConfig)}
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
        # Of three passes: drawing, which scores in float32, and the reference, a third each; and the pass itself.
        ([], 1 + 2 / 3, 2),
        (["training.bf16=true"], 1 + 3 / 3, 2),
        (["training.generation_kwargs={min_p: 0.1}"], 1 + 3 / 3, 2),
        (["training.kl_coef=0"], 1 + 1 / 3, 2),
        (["training.value=model"], 2 + 3 / 3, 4),
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


GROUPS = """\
{per_device_train_batch_size: 4, global_batch_size: 8, num_generations: 4, steps_per_generation: 6, num_iterations: 2,
 max_completion_length: 16, max_prompt_length: 48}"""


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_groups_are_planned_as_their_trainers_count_them(kind: str, tmp_path: Path) -> None:
    from hfrecipes.trainers.groups.config import RecipeGRPOConfig, RecipeRLOOConfig

    (tmp_path / "r.yaml").write_text(RECIPE)
    words = [f"kind={kind}", f"training={GROUPS}"]
    recipe = load_recipe(tmp_path / "r.yaml", words)
    rollouts = policy.rollout_plan(recipe, BatchSplit(8, 4, 2))
    said = {key: value for key, value in recipe.get("training").items() if key != "global_batch_size"}
    cls = {"grpo": RecipeGRPOConfig, "rloo": RecipeRLOOConfig}[kind]
    args = cls(output_dir=str(tmp_path), gradient_accumulation_steps=2, use_cpu=True, bf16=False, **said)
    # 24 answers are drawn at a time, and learnt from twice in steps of eight.
    assert (rollouts.answers, rollouts.steps, rollouts.drawn) == (24, 6, 24)
    assert (args.rollout_size, args.steps_per_rollout, args.generation_batch_size) == (24, 6, 24)
    # 40 prompts have 160 answers: seven rollouts.
    plan = planned(tmp_path, *words, "training.num_train_epochs=1")
    assert plan["steps"] == 42 and plan["batch"]["row_tokens"] == 64
    assert plan["epochs"] == pytest.approx(42 * 8 / 2 / 4 / 40)
    memory, total = plan["memory"], plan["parameters"]["total"]
    assert memory["values"] == 0 and memory["reference"] == (4 * total if kind == "rloo" else 0)
    assert memory["rollout"] == 24 * (16 * 64 + 4 * 2 * 16) + 24 * 64 * 2 * 2 * 32 * 4


def test_a_step_that_needs_several_generations_is_a_rollout(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    words = ["kind=grpo", f"training={GROUPS}", "training.steps_per_generation=1", "training.num_iterations=1"]
    rollouts = policy.rollout_plan(load_recipe(tmp_path / "r.yaml", words), BatchSplit(8, 4, 2))
    assert (rollouts.answers, rollouts.steps, rollouts.drawn) == (8, 1, 4)


@pytest.mark.parametrize(
    ("words", "forward"),
    [
        # Learnt from at once: drawing alone is added, and the reference.
        (["kind=grpo"], 2.0),
        (["kind=grpo", "training.beta=0.1"], 3.0),
        (["kind=grpo", "training.num_iterations=2"], 1 + 2 / 2),
        (["kind=rloo"], 4.0),
    ],
)
def test_what_a_group_costs(words: list[str], forward: float, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "r.yaml", ["training={num_generations: 4, global_batch_size: 8}", *words])
    rollouts = policy.rollout_plan(recipe, BatchSplit(8, 8, 1))
    found = policy.policy_flops(recipe, TokenFlops(1.0, 2.0), rollouts)
    assert (found.forward, found.backward) == (pytest.approx(forward), 2)


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
