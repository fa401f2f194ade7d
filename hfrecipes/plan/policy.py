"""What a training of a policy on its own answers adds to a plan: rollouts, values, references, rewards."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from hfrecipes.models.adapters import is_adapter
from hfrecipes.plan.flops import TokenFlops
from hfrecipes.plan.parameters import ParameterCount
from hfrecipes.plan.shape import ModelShape
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.resolve import NUM_MINI_BATCHES, NUM_PPO_EPOCHS, BatchSplit
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.recipe.source_list import PROMPTED

# PPOConfig's own defaults; a test holds the two together.
RESPONSE_LENGTH, KL_COEF, FORWARD_BATCH, VALUE = 53, 0.05, 64, "head"
# Numbers that a rollout keeps for each token of an answer, in float32: log-probabilities of policy and reference, entropies,
# values, rewards, advantages, returns, random numbers.
_KEPT_BY_TOKEN = 8
_ADAM_BYTES = 4 + 4 + 8


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """How a policy learns from rollouts.

    Args:
        passes: Times that each is learnt from.
        minibatches: Optimizer steps in each pass.
        batch: Answers in each step, over all processes.
        response_length: Tokens of an answer at most.
    """

    passes: int
    minibatches: int
    batch: int
    response_length: int

    @property
    def answers(self) -> int:
        """Of one rollout."""
        return self.batch * self.minibatches

    @property
    def steps(self) -> int:
        """Optimizer steps on one rollout."""
        return self.passes * self.minibatches

    def whole(self, steps: int) -> int:
        """Optimizer steps of whole rollouts: one that is begun is finished."""
        return -(-steps // self.steps) * self.steps

    def steps_of_an_epoch(self, prompts: int) -> int:
        return math.ceil(prompts / self.answers) * self.steps


def rollout_plan(recipe: Recipe, batch: BatchSplit) -> RolloutPlan | None:
    """How the policy of a recipe learns; None for kinds that learn from rows as they are."""
    if recipe.kind not in PROMPTED:
        return None
    return RolloutPlan(
        recipe.get("training.num_ppo_epochs", NUM_PPO_EPOCHS),
        recipe.get("training.num_mini_batches", NUM_MINI_BATCHES),
        batch.global_batch_size,
        recipe.get("training.response_length", RESPONSE_LENGTH),
    )


def policy_flops(recipe: Recipe, per_token: TokenFlops, rollouts: RolloutPlan) -> TokenFlops:
    """Operations for a token of one pass over a rollout, with the share of what the rollout itself took.

    That are one forward pass for drawing, one for the log-probabilities, and one of the reference, for all passes together.
    A second adapter, or a second model, for values goes through all that the policy goes through, but for drawing.

    Args:
        recipe: Resolved.
        per_token: Of the policy's own training.
        rollouts: From `rollout_plan`.
    """
    referred = 1 if recipe.get("training.kl_coef", KL_COEF) > 0 else 0
    models = 1 if recipe.get("training.value", VALUE) == "head" else 2
    once = (1 + models + referred) * per_token.forward / rollouts.passes
    return replace(
        per_token,
        forward=models * per_token.forward + once,
        backward=models * per_token.backward,
        recompute=models * per_token.recompute,
    )


def value_bytes(recipe: Recipe, counts: ParameterCount, shape: ModelShape) -> float:
    """Weights, gradients and Adam's moments of what makes values, in float32."""
    value = recipe.get("training.value", VALUE)
    body = {"head": 0, "adapter": counts.trainable, "model": counts.total - counts.unembedding}[value]
    return float((body + shape.hidden_size + 1) * _ADAM_BYTES)


def rollout_bytes(
    recipe: Recipe, shape: ModelShape, rollouts: RolloutPlan, row_tokens: int, world_size: int, element_bytes: int
) -> float:
    """The rollout of all processes, which each of them keeps, and the cache of keys and values of answers that are drawn."""
    kept = rollouts.answers * (8 * row_tokens + 4 * _KEPT_BY_TOKEN * rollouts.response_length)
    drawn = min(recipe.get("training.local_rollout_forward_batch_size", FORWARD_BATCH), rollouts.answers // world_size)
    heads = 2 * shape.num_key_value_heads * shape.head_dim
    return float(kept + drawn * row_tokens * len(shape.windows) * heads * element_bytes)


def reward_bytes(recipe: Recipe) -> tuple[float, tuple[Problem, ...]]:
    """Weights of the reward models as they lie on the disk; and which of them could not be looked at."""
    total, unknown = 0.0, []
    for place, spec in enumerate(recipe.get("rewards") or []):
        if "model" not in spec:
            continue
        folder = recipe.find_file(spec["model"])
        folder = RunDir(folder).model if RunDir(folder).model.is_dir() else folder
        if not folder.is_dir():
            fault = f"the memory of the reward model {spec['model']} is not counted: it is not here"
            unknown.append(Problem(recipe.where(f"rewards.{place}.model"), fault, "leave room for it", "unchecked"))
            continue
        total += _weights(folder)
        if is_adapter(folder) and not recipe.get("adapter"):
            fault = f"the base of the reward model {spec['model']} is loaded beside the policy and not counted"
            unknown.append(Problem(recipe.where(f"rewards.{place}.model"), fault, "leave room for it", "unchecked"))
    return total, tuple(unknown)


def _weights(folder: Path) -> float:
    return float(sum(file.stat().st_size for file in folder.glob("*.safetensors")))
