"""What a training of a policy on its own answers adds to a plan: rollouts, values, references, rewards."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from hfrecipes.models.adapters import is_adapter
from hfrecipes.plan.flops import TokenFlops
from hfrecipes.plan.parameters import ParameterCount
from hfrecipes.plan.shape import ModelShape
from hfrecipes.recipe.answer_words import answer_length, is_referred, num_generations
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.resolve import NUM_MINI_BATCHES, NUM_PPO_EPOCHS, BatchSplit
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.recipe.source_list import GROUPED, PROMPTED, SAMPLE

# PPOConfig's own defaults; a test holds the two together.
FORWARD_BATCH, VALUE = 64, "head"
# Numbers that a rollout keeps for each token of an answer, in float32: log-probabilities of policy and reference, entropies,
# values, rewards, advantages, returns, random numbers.
_KEPT_BY_TOKEN = 8
# Those that a generation of TRL's keeps: log-probabilities of policy and reference.
_KEPT_BY_TOKEN_OF_GROUPS = 2
_ADAM_BYTES = 4 + 4 + 8


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """How a policy learns from rollouts.

    Args:
        passes: Times that each answer is learnt from.
        steps: Optimizer steps on one rollout.
        batch: Answers in each step, over all processes.
        response_length: Tokens of an answer at most.
        drawn: Answers that are drawn at a time, over all processes.
        of_a_prompt: Answers to each prompt.
    """

    passes: int
    steps: int
    batch: int
    response_length: int
    drawn: int
    of_a_prompt: int = 1

    @property
    def answers(self) -> int:
        """Of one rollout."""
        return self.batch * self.steps // self.passes

    def whole(self, steps: int) -> int:
        """Optimizer steps of whole rollouts: one that is begun is finished."""
        return -(-steps // self.steps) * self.steps

    def steps_of_an_epoch(self, prompts: int) -> int:
        return math.ceil(prompts * self.of_a_prompt / self.answers) * self.steps


def rollout_plan(recipe: Recipe, batch: BatchSplit) -> RolloutPlan | None:
    """How the policy of a recipe learns; None for kinds that learn from rows as they are."""
    if recipe.kind in GROUPED:
        return _group_plan(recipe, batch)
    if recipe.kind not in PROMPTED or recipe.kind == SAMPLE:
        return None
    passes = recipe.get("training.num_ppo_epochs", NUM_PPO_EPOCHS)
    minibatches = recipe.get("training.num_mini_batches", NUM_MINI_BATCHES)
    answers, processes = batch.global_batch_size * minibatches, _processes(batch)
    drawn = min(
        recipe.get("training.local_rollout_forward_batch_size", FORWARD_BATCH) * processes,
        answers // processes * processes,
    )
    return RolloutPlan(passes, passes * minibatches, batch.global_batch_size, answer_length(recipe), drawn)


def _group_plan(recipe: Recipe, batch: BatchSplit) -> RolloutPlan:
    """TRL counts in micro-batches: see `hfrecipes.trainers.groups.config.Groups`, which this says before it is built."""
    whole = batch.micro_batch_size * _processes(batch)
    asked = recipe.get("training.generation_batch_size")
    micro_batches = max(asked // whole, 1) if asked else recipe.get("training.steps_per_generation")
    micro_batches = micro_batches or batch.accumulation_steps
    passes = recipe.get("training.num_iterations", 1)
    steps = math.lcm(micro_batches * passes, batch.accumulation_steps) // batch.accumulation_steps
    generations = num_generations(recipe)
    return RolloutPlan(
        passes, steps, batch.global_batch_size, answer_length(recipe), micro_batches * whole, generations
    )


def _processes(batch: BatchSplit) -> int:
    return batch.global_batch_size // (batch.micro_batch_size * batch.accumulation_steps)


def policy_flops(recipe: Recipe, per_token: TokenFlops, rollouts: RolloutPlan) -> TokenFlops:
    """Operations for a token of one pass over a rollout, with the share of what the rollout itself took.

    That are one forward pass for drawing, one for the log-probabilities where drawing cannot tell them, and one of the
    reference, for all passes together. A second adapter, or a second model, for values goes through all that the policy goes
    through, but for drawing. GRPO whose answers are all learnt from at once takes the log-probabilities from the step itself.

    Args:
        recipe: Resolved.
        per_token: Of the policy's own training.
        rollouts: From `rollout_plan`.
    """
    referred = 1 if is_referred(recipe) else 0
    if recipe.kind in GROUPED:
        at_once = recipe.kind == "grpo" and rollouts.steps == 1 and not recipe.get("training.use_vllm")
        once = (1 + referred + (0 if at_once else 1)) * per_token.forward / rollouts.passes
        return replace(per_token, forward=per_token.forward + once)
    models = 1 if recipe.get("training.value", VALUE) == "head" else 2
    scored = models - (1 if _scores_as_it_draws(recipe) else 0)
    once = (1 + scored + referred) * per_token.forward / rollouts.passes
    return replace(
        per_token,
        forward=models * per_token.forward + once,
        backward=models * per_token.backward,
        recompute=models * per_token.recompute,
    )


def _scores_as_it_draws(recipe: Recipe) -> bool:
    """Whether PPO takes log-probabilities down while it draws (`hfrecipes.trainers.ppo.scoring`), in one process or under DDP."""
    mixed = recipe.get("training.bf16", False) or recipe.get("training.fp16", False)
    whole = recipe.get("model.dtype", "float32") in ("float32", "auto")
    return whole and not mixed and not recipe.get("training.generation_kwargs")


def value_bytes(recipe: Recipe, counts: ParameterCount, shape: ModelShape) -> float:
    """Weights, gradients and Adam's moments of what makes values, in float32; groups of answers need none."""
    if recipe.kind in GROUPED:
        return 0.0
    value = recipe.get("training.value", VALUE)
    body = {"head": 0, "adapter": counts.trainable, "model": counts.total - counts.unembedding}[value]
    return float((body + shape.hidden_size + 1) * _ADAM_BYTES)


def rollout_bytes(
    recipe: Recipe, shape: ModelShape, rollouts: RolloutPlan, row_tokens: int, world_size: int, element_bytes: int
) -> float:
    """What a process keeps of a rollout, and the cache of keys and values of answers that are drawn.

    PPO keeps the rollout of all processes, TRL's trainers their own part, with masks as long as the ids.
    """
    grouped, drawn = recipe.kind in GROUPED, rollouts.drawn // world_size
    answers = drawn if grouped else rollouts.answers
    of_ids, of_answers = (16, _KEPT_BY_TOKEN_OF_GROUPS) if grouped else (8, _KEPT_BY_TOKEN)
    kept = answers * (of_ids * row_tokens + 4 * of_answers * rollouts.response_length)
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
        if is_adapter(folder) and (recipe.kind in GROUPED or not recipe.get("adapter")):
            fault = f"the base of the reward model {spec['model']} is loaded beside the policy and not counted"
            unknown.append(Problem(recipe.where(f"rewards.{place}.model"), fault, "leave room for it", "unchecked"))
    return total, tuple(unknown)


def _weights(folder: Path) -> float:
    return float(sum(file.stat().st_size for file in folder.glob("*.safetensors")))
