"""`kind: reward`: a model that tells better answers from worse ones, with `trl.RewardTrainer`, full or through an adapter."""

from __future__ import annotations

from typing import Any

import numpy as np
from trl import RewardConfig

from hfrecipes.data.prepare import Prepared
from hfrecipes.models.load import adapter_config
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.stages.measure_rewards import RewardMeasurer
from hfrecipes.stages.sft import finish_adapter
from hfrecipes.trainers.reward import RecipeRewardTrainer

ARGUMENTS = RewardConfig
MEASURER = RewardMeasurer
COLUMNS = ("input_ids", "labels", "seq_lengths", "ranks", "margin")


def build_trainer(
    recipe: Recipe, model: Any, args: RewardConfig, prepared: Prepared, tokenizer: Any
) -> RecipeRewardTrainer:
    """The trainer of a reward model; its rows are tokenised already.

    Raises:
        RecipeError: an answer ends with the token that fills batches up.
    """
    for name, dataset in {"data.train": prepared.train, **prepared.eval}.items():
        _refuse_pad_at_ends(dataset, tokenizer, name, recipe.where("data"))
    config = adapter_config(recipe)
    if config is not None:
        # With it peft trains and saves the head, too.
        config.task_type = "SEQ_CLS"
    trainer = RecipeRewardTrainer(
        model=model,
        args=args,
        train_dataset=prepared.train.select_columns(list(COLUMNS)),
        eval_dataset={name: each.select_columns(list(COLUMNS)) for name, each in prepared.eval.items()} or None,
        processing_class=tokenizer,
        peft_config=config,
    )
    finish_adapter(recipe, trainer.model)
    return trainer


def _refuse_pad_at_ends(dataset: Any, tokenizer: Any, title: str, where: str) -> None:
    """A reward is read at the last token that is not padding, so that no answer may end with it."""
    for table in dataset.select_columns(["input_ids", "seq_lengths"]).with_format("arrow").iter(1000):
        lengths = table.column("seq_lengths").combine_chunks().flatten().to_numpy()
        ids = table.column("input_ids").combine_chunks().flatten().to_numpy()
        if (ids[np.cumsum(lengths) - 1] == tokenizer.pad_token_id).any():
            fault = f"an answer of {title} ends with {tokenizer.pad_token}, which fills batches up"
            fix = "remove the token from the data, or name another one in training.pad_token"
            raise RecipeError(Problem(where, fault, fix))
