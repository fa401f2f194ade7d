"""`kind: ppo`: a policy that is trained on its own answers, which rewards score, with a critic; full or through an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfrecipes.data.prepare import Prepared
from hfrecipes.data.prompts import PromptRows
from hfrecipes.models.load import adapter_config
from hfrecipes.recipe.loader import Recipe
from hfrecipes.stages.measure_policy import PolicyMeasurer
from hfrecipes.stages.policy_rewards import open_rewards
from hfrecipes.stages.prompted import ends_of_turns, name_scorers, refuse_unusable, tokens_of_a_step, training_facts
from hfrecipes.stages.sft import finish_adapter
from hfrecipes.trainers.ppo.config import PPOConfig
from hfrecipes.trainers.ppo.trainer import PPOTrainer

__all__ = [
    "ARGUMENTS",
    "MEASURER",
    "build_trainer",
    "more_callbacks",
    "refuse_unusable",
    "tokens_of_a_step",
    "training_facts",
]
ARGUMENTS = PPOConfig
MEASURER = PolicyMeasurer


def build_trainer(recipe: Recipe, model: Any, args: PPOConfig, prepared: Prepared, tokenizer: Any) -> PPOTrainer:
    """The trainer of a policy; its prompts are read and counted already.

    Raises:
        RecipeError: a reward cannot be loaded, or does not go with the policy.
    """
    config = adapter_config(recipe)
    _end_with_turns(recipe, args, prepared, tokenizer)
    opened = open_rewards(recipe, has_adapter=config is not None or hasattr(model, "peft_config"))
    trainer = PPOTrainer(
        model=model,
        args=args,
        reward_funcs=[each.scores for each in opened],
        train_dataset=PromptRows(prepared.train),
        eval_dataset={name: PromptRows(rows) for name, rows in prepared.eval.items()} or None,
        processing_class=tokenizer,
        reward_processing_classes=[each.tokenizer for each in opened],
        peft_config=config,
    )
    name_scorers(trainer.rewards, opened)
    finish_adapter(recipe, trainer.model)
    return trainer


def more_callbacks(trainer: PPOTrainer, warn: Callable[[str], None]) -> list[Any]:
    """None; the trainer itself looks out for signs that a training goes wrong, and tells of them from here on."""
    trainer.signs.warn = warn
    return []


def _end_with_turns(recipe: Recipe, args: PPOConfig, prepared: Prepared, tokenizer: Any) -> None:
    """Answers in a conversation end with the turn, where the recipe says nothing and a text ends with another token."""
    # Null says something, too: with stop_token: null answers end nowhere.
    if {"stop_token", "stop_token_id", "stop_strings"} & recipe.get("training").keys():
        return
    if ends := ends_of_turns(prepared, tokenizer):
        args.stop_token_id = ends[0]
