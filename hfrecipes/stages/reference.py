"""What a training on preferences or rewards is compared with: the model as it was when the training began."""

from __future__ import annotations

from typing import Any

from hfrecipes.check.preferences import no_reference
from hfrecipes.models.load import adapter_config
from hfrecipes.recipe.adapter_words import leaves_the_base
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.trainers.dpo import copy_for_reference


def reference_copy(recipe: Recipe, model: Any, precomputed: bool = False) -> Any | None:
    """A frozen copy of the model, where the reference cannot be had from the model itself.

    That is the base with a new adapter switched off; for an adapter that was trained before, TRL keeps a frozen copy of it;
    and what is computed before the first step needs no model after that.

    Args:
        recipe: Resolved.
        model: As it is loaded.
        precomputed: Whether the reference is asked once, before the first step.

    Raises:
        RecipeError: the adapter changes a base that cannot be copied.
    """
    adapter, is_new = recipe.get("adapter"), adapter_config(recipe) is not None
    if hasattr(model, "peft_config") or (is_new and leaves_the_base(adapter)):
        return None
    if is_new and recipe.get("quantization"):
        raise RecipeError(no_reference(recipe))
    if precomputed and not is_new:
        return None
    return copy_for_reference(model)
