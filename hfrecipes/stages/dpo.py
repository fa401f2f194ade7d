"""`kind: dpo`: preferences without a reward model, with `trl.DPOTrainer` and any of its losses, full or through an adapter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trl import DPOConfig

from hfrecipes.callbacks.likelihood import LikelihoodCallback
from hfrecipes.check.preferences import no_reference
from hfrecipes.data.prepare import Prepared
from hfrecipes.models.load import adapter_config
from hfrecipes.recipe.adapter_words import leaves_the_base
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.stages.measure_preferences import PreferenceMeasurer
from hfrecipes.stages.sft import finish_adapter
from hfrecipes.trainers.dpo import RecipeDPOTrainer, copy_for_reference

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
        ref_model=_reference(recipe, model, args),
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


def _reference(recipe: Recipe, model: Any, args: DPOConfig) -> Any | None:
    """A frozen copy of the model, where the reference cannot be had from the model itself.

    That is the base with a new adapter switched off; for an adapter that was trained before, TRL keeps a frozen copy of it;
    and what is computed before the first step needs no model after that.

    Raises:
        RecipeError: the adapter changes a base that cannot be copied.
    """
    adapter, is_new = recipe.get("adapter"), adapter_config(recipe) is not None
    if hasattr(model, "peft_config") or (is_new and leaves_the_base(adapter)):
        return None
    if is_new and recipe.get("quantization"):
        raise RecipeError(no_reference(recipe))
    if args.precompute_ref_log_probs and not is_new:
        return None
    return copy_for_reference(model)
