"""`kind: dpo`: preferences without a reward model, with `trl.DPOTrainer` and any of its losses, full or through an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trl import DPOConfig

from hfrecipes.callbacks.likelihood import LikelihoodCallback
from hfrecipes.data.prepare import Prepared
from hfrecipes.models.load import adapter_config
from hfrecipes.recipe.loader import Recipe
from hfrecipes.stages.measure_preferences import PreferenceMeasurer
from hfrecipes.stages.reference import reference_copy
from hfrecipes.stages.sft import finish_adapter
from hfrecipes.trainers.dpo import RecipeDPOTrainer

ARGUMENTS = DPOConfig
MEASURER = PreferenceMeasurer
COLUMNS = ("input_ids", "labels", "seq_lengths")


def build_trainer(recipe: Recipe, model: Any, args: DPOConfig, prepared: Prepared, tokenizer: Any) -> RecipeDPOTrainer:
    """The trainer of a preference training; its rows are tokenised already.

    Raises:
        RecipeError: there is no reference for this adapter.
    """
    trainer = RecipeDPOTrainer(
        model=model,
        ref_model=reference_copy(recipe, model, precomputed=args.precompute_ref_log_probs),
        args=args,
        train_dataset=prepared.train.select_columns(list(COLUMNS)),
        eval_dataset={name: each.select_columns(list(COLUMNS)) for name, each in prepared.eval.items()} or None,
        processing_class=tokenizer,
        peft_config=adapter_config(recipe),
    )
    finish_adapter(recipe, trainer.model)
    return trainer


def more_callbacks(trainer: RecipeDPOTrainer, warn: Callable[[str], None]) -> list[Any]:
    """What looks on beside the callbacks of all kinds."""
    return [LikelihoodCallback(trainer.beta, warn)]
