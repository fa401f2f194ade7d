"""How trainings on groups of answers to each prompt are put together, `kind: grpo` and `kind: rloo`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfrecipes.data.prepare import Prepared
from hfrecipes.models.load import adapter_config
from hfrecipes.recipe.loader import Recipe
from hfrecipes.stages.policy_rewards import open_rewards
from hfrecipes.stages.prompted import ends_of_turns, name_scorers
from hfrecipes.stages.reference import reference_copy
from hfrecipes.stages.sft import finish_adapter
from hfrecipes.trainers.groups.trainer import GroupPolicy
from hfrecipes.trainers.ppo.setup import open_rewards as make_rewards

COLUMNS = ("input_ids", "given")


def build_group_trainer(
    cls: type[GroupPolicy], recipe: Recipe, model: Any, args: Any, prepared: Prepared, tokenizer: Any
) -> GroupPolicy:
    """The trainer of a policy whose answers to a prompt are compared with each other.

    Args:
        cls: GRPO's or RLOO's.
        recipe: Resolved.
        model: As it is loaded.
        args: Of the training.
        prepared: Prompts, read and counted.
        tokenizer: The policy's.

    Raises:
        RecipeError: a reward cannot be loaded, or there is no reference for this adapter.
    """
    # A reward that is an adapter stands on a base of its own: TRL switches the policy's adapters itself.
    opened = open_rewards(recipe, has_adapter=False)
    scorers, tokenizers = [each.scores for each in opened], [each.tokenizer for each in opened]
    rewards = make_rewards(scorers, tokenizers, model, tokenizer, args, model.forward)
    name_scorers(rewards, opened)
    trainer = cls(
        model=model,
        args=args,
        rewards=rewards,
        ref_model=reference_copy(recipe, model) if args.beta else None,
        end_ids=ends_of_turns(prepared, tokenizer),
        train_dataset=prepared.train.select_columns(list(COLUMNS)),
        eval_dataset={name: each.select_columns(list(COLUMNS)) for name, each in prepared.eval.items()} or None,
        processing_class=tokenizer,
        peft_config=adapter_config(recipe),
    )
    finish_adapter(recipe, trainer.model)
    return trainer


def warn_of_signs(trainer: GroupPolicy, warn: Callable[[str], None]) -> list[Any]:
    """No callbacks; the trainer itself looks out for signs that a training goes wrong, and tells of them from here on."""
    trainer.signs.warn = warn
    return []
