"""A tokenizer that a run has trained on its own data, and what becomes of it when the run goes on with other data."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from hfrecipes.models.recipe_tokenizer import tokenizer_location
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

_KEY = "model.tokenizer"
_FILE = "tokenizer.json"


def refuse_retrained_tokenizer(recipe: Recipe, checkpoint: Path | None) -> None:
    """Looks whether the ids that a checkpoint has learnt still mean the same.

    A tokenizer that is trained or extended on the sources is another one when these have changed. With as many entries as
    before it would fit the weights, which would take each id for what it meant.

    Args:
        recipe: Today's; its tokenizer has been made.
        checkpoint: What the run goes on from; None where it begins.

    Raises:
        RecipeError: the pieces are others.
    """
    if checkpoint is None or not isinstance(recipe.get(_KEY), dict):
        return
    before, now = _pieces(checkpoint / _FILE), _pieces(Path(tokenizer_location(recipe)) / _FILE)
    if before is None or now is None or before == now:
        return
    fault = f"{_KEY} is made of the data, which have changed: its ids would mean other pieces than {checkpoint.name} has learnt"
    fix = f"keep the one it has learnt: {_KEY}={checkpoint} --allow-change {_KEY}; or begin a run of another name"
    raise RecipeError(Problem(recipe.where(_KEY), fault, fix))


def _pieces(file: Path) -> tuple[Any, ...] | None:
    """What decides the ids of a text; None where it cannot be read."""
    with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
        said = json.loads(file.read_text(encoding="utf-8"))
        # transformers writes a merge as a pair, older files as one string.
        merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in said["model"]["merges"]]
        return said["model"]["vocab"], merges, {entry["content"]: entry["id"] for entry in said["added_tokens"]}
    return None
