"""`kind: orpo`: preferences and fine-tuning at once, without a reference model, full or through an adapter."""

from __future__ import annotations

from typing import Any

from hfrecipes.data.prepare import Prepared
from hfrecipes.models.load import adapter_config
from hfrecipes.recipe.loader import Recipe
from hfrecipes.stages.dpo import COLUMNS
from hfrecipes.stages.measure_odds import OddsMeasurer
from hfrecipes.stages.sft import finish_adapter
from hfrecipes.trainers.orpo.config import ORPOConfig
from hfrecipes.trainers.orpo.trainer import RecipeORPOTrainer

ARGUMENTS = ORPOConfig
MEASURER = OddsMeasurer


def build_trainer(
    recipe: Recipe, model: Any, args: ORPOConfig, prepared: Prepared, tokenizer: Any
) -> RecipeORPOTrainer:
    """The trainer of a training on preferences; its rows are tokenised already."""
    trainer = RecipeORPOTrainer(
        model=model,
        args=args,
        train_dataset=prepared.train.select_columns(list(COLUMNS)),
        eval_dataset={name: each.select_columns(list(COLUMNS)) for name, each in prepared.eval.items()} or None,
        processing_class=tokenizer,
        peft_config=adapter_config(recipe),
    )
    finish_adapter(recipe, trainer.model)
    return trainer
