"""`kind: kto`: answers that are good or not, without pairs, with `trl.KTOTrainer`, full or through an adapter."""

from __future__ import annotations

from typing import Any

from trl import KTOConfig

from hfrecipes.data.prepare import Prepared
from hfrecipes.models.load import adapter_config
from hfrecipes.recipe.loader import Recipe
from hfrecipes.stages.measure_labelled import LabelledMeasurer
from hfrecipes.stages.reference import reference_copy
from hfrecipes.stages.sft import finish_adapter
from hfrecipes.trainers.kto import RecipeKTOTrainer

ARGUMENTS = KTOConfig
MEASURER = LabelledMeasurer
COLUMNS = ("input_ids", "labels", "label")


def build_trainer(recipe: Recipe, model: Any, args: KTOConfig, prepared: Prepared, tokenizer: Any) -> RecipeKTOTrainer:
    """The trainer of a training on labelled answers; its rows are tokenised already.

    Raises:
        RecipeError: there is no reference for this adapter.
    """
    trainer = RecipeKTOTrainer(
        model=model,
        ref_model=reference_copy(recipe, model),
        args=args,
        train_dataset=prepared.train.select_columns(list(COLUMNS)),
        eval_dataset={name: each.select_columns(list(COLUMNS)) for name, each in prepared.eval.items()} or None,
        processing_class=tokenizer,
        peft_config=adapter_config(recipe),
    )
    finish_adapter(recipe, trainer.model)
    return trainer
