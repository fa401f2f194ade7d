"""The heads that a training begins with."""

from __future__ import annotations

from typing import Any

from hfrecipes.models.mtp.attach import add_mtp_heads, inner_model
from hfrecipes.models.mtp.beside import FILE
from hfrecipes.objectives.settings import MTPSettings
from hfrecipes.recipe.loader import Recipe


def give_heads(recipe: Recipe, model: Any, settings: MTPSettings) -> None:
    """Gives a recipe's model heads: those that lie beside it where there are some, else new ones.

    Args:
        recipe: Where `model.name_or_path` names the model.
        model: In an adapter or not.
        settings: Kind and number of heads.

    Raises:
        ValueError: those beside it are of another kind or number.
    """
    inner = add_mtp_heads(inner_model(model), settings.num_future_tokens, settings.heads)
    name = recipe.get("model.name_or_path")
    if name is not None and (recipe.find_file(name) / FILE).is_file():
        inner.load_heads(recipe.find_file(name))
