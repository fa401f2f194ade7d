"""A recipe with `data.splits.folds` and no `fold`: as many trainings, each measured on the rows that it did not see."""

from __future__ import annotations

import copy
import dataclasses

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.pipeline import Step


def wants_folds(recipe: Recipe) -> bool:
    """Whether a recipe stands for a training on each of its folds."""
    return recipe.get("data.splits.folds") is not None and recipe.get("data.splits.fold") is None


def expand_folds(recipe: Recipe) -> list[Step]:
    """The trainings, `fold-1` to `fold-K`; each names the fold that it leaves out."""
    return [Step(f"fold-{fold}", of_fold(recipe, fold), ()) for fold in range(1, recipe.get("data.splits.folds") + 1)]


def of_fold(recipe: Recipe, fold: int) -> Recipe:
    """The training that leaves out one fold, counted from 1."""
    values = copy.deepcopy(recipe.values)
    values["data"]["splits"]["fold"] = fold
    said = {**recipe.overrides, ("data", "splits", "fold"): f"data.splits.fold={fold}"}
    return dataclasses.replace(recipe, values=values, overrides=said)
