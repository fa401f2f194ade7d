"""How long a run is: optimizer steps, passes over the data, tokens, and the longest row that it meets."""

from __future__ import annotations

import math

from hfrecipes.data.mixture.schedule import MixtureSchedule
from hfrecipes.plan.counts import DataCounts
from hfrecipes.plan.mixture import DEFAULT_EPOCHS, unseen_steps
from hfrecipes.plan.policy import RolloutPlan, rollout_plan
from hfrecipes.plan.shape import ModelShape
from hfrecipes.recipe.adapter_words import virtual_tokens
from hfrecipes.recipe.answer_words import answer_length
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.resolve import BatchSplit
from hfrecipes.recipe.source_list import COMPARING, PROMPTED

# Sequences of a row of a preference: the prompt with either answer. (A ranking has more.)
PAIR = 2


def longest_row(recipe: Recipe, shape: ModelShape | None) -> int:
    """Tokens of the longest row that training can meet."""
    if recipe.kind == "pretrain":
        return recipe.get("data.context_length")
    if recipe.kind in PROMPTED:
        answer = answer_length(recipe)
        asked = recipe.get("training.max_prompt_length")
        most = shape.max_positions if shape and shape.max_positions else 0
        return asked + answer if asked else most
    limit = recipe.get("training.max_length")
    row = limit or (shape.max_positions if shape and shape.max_positions else 0)
    return (row + virtual_tokens(recipe.get("adapter"))) * (PAIR if recipe.kind in COMPARING else 1)


def planned_steps(
    recipe: Recipe, data: DataCounts, batch: BatchSplit, schedule: MixtureSchedule | None, parameters: int | None
) -> tuple[int | None, float | None]:
    """Optimizer steps, and the Trainer's epochs: each is a whole number of steps, its last batch completed from the next."""
    if recipe.get("data.mixture") is not None:
        # Each source has epochs of its own.
        return (schedule.steps if schedule else unseen_steps(recipe, batch.global_batch_size, parameters)), None
    rows, rollouts = data.rows, rollout_plan(recipe, batch)
    per_epoch = None if rows is None else math.ceil(rows / batch.global_batch_size)
    if rollouts and rows is not None:
        per_epoch = rollouts.steps_of_an_epoch(rows)
    max_steps = recipe.get("training.max_steps", -1)
    if max_steps > 0:
        max_steps = rollouts.whole(max_steps) if rollouts else max_steps
        return max_steps, None if not per_epoch else max_steps / per_epoch
    epochs = float(recipe.get("training.num_train_epochs", DEFAULT_EPOCHS))
    steps = None if per_epoch is None else math.ceil(epochs * per_epoch)
    return (rollouts.whole(steps) if rollouts and steps else steps), epochs


def passes(
    data: DataCounts, batch: BatchSplit, steps: int | None, asked: float | None, rollouts: RolloutPlan | None
) -> float | None:
    """How often each row is read; the epochs asked for where the rows are not known."""
    if not data.rows or steps is None:
        return asked
    read = steps * batch.global_batch_size / data.rows
    # A prompt that is answered once is learnt from several times.
    return read / rollouts.passes / rollouts.of_a_prompt if rollouts else read


def tokens_read(recipe: Recipe, data: DataCounts, batch: BatchSplit, steps: int | None) -> float | None:
    """Tokens read in all steps; every step has a full batch."""
    per_row = mean_row(recipe, data)
    return None if steps is None or per_row is None else steps * batch.global_batch_size * per_row


def mean_row(recipe: Recipe, data: DataCounts) -> float | None:
    """Tokens of a row of the data, with the answer that the policy will write; None where rows could not be counted."""
    if recipe.kind == "pretrain":
        return float(recipe.get("data.context_length"))
    if data.tokens is None or not data.rows:
        return None
    # Answers are taken to be as long as they may be.
    answer = answer_length(recipe) if recipe.kind in PROMPTED else 0
    return data.tokens / data.rows + answer
