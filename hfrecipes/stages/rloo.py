"""`kind: rloo`: a policy that learns which of its answers to a prompt are the better ones, with `trl.RLOOTrainer`."""

from __future__ import annotations

from typing import Any

from hfrecipes.data.prepare import Prepared
from hfrecipes.recipe.loader import Recipe
from hfrecipes.stages.groups import build_group_trainer
from hfrecipes.stages.groups import warn_of_signs as more_callbacks
from hfrecipes.stages.measure_policy import PolicyMeasurer
from hfrecipes.stages.prompted import refuse_unusable, tokens_of_a_step, training_facts
from hfrecipes.trainers.groups.config import RecipeRLOOConfig
from hfrecipes.trainers.groups.trainer import RecipeRLOOTrainer

__all__ = [
    "ARGUMENTS",
    "MEASURER",
    "build_trainer",
    "more_callbacks",
    "refuse_unusable",
    "tokens_of_a_step",
    "training_facts",
]
ARGUMENTS = RecipeRLOOConfig
MEASURER = PolicyMeasurer


def build_trainer(
    recipe: Recipe, model: Any, args: RecipeRLOOConfig, prepared: Prepared, tokenizer: Any
) -> RecipeRLOOTrainer:
    """The trainer of a policy; its prompts are read and counted already.

    Raises:
        RecipeError: a reward cannot be loaded, or there is no reference for this adapter.
    """
    return build_group_trainer(RecipeRLOOTrainer, recipe, model, args, prepared, tokenizer)
