"""The front door: `run(recipe)` and `build(recipe)`, for every kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hfrecipes.recipe.folds import wants_folds
from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.smoke import shrink
from hfrecipes.recipe.source_list import SAMPLE
from hfrecipes.stages.folds import run_folds
from hfrecipes.stages.options import RunOptions
from hfrecipes.stages.pipeline import run_pipeline
from hfrecipes.stages.training import open_session, run_training

if TYPE_CHECKING:
    from hfrecipes.stages.session import Session


def run(recipe: Recipe | str | Path, overrides: Sequence[str] = (), options: RunOptions | None = None) -> Path:
    """Checks, plans, trains, measures a recipe and writes its card and report.

    Args:
        recipe: A recipe, its file, or the name of a shipped one.
        overrides: `key=value`, where `recipe` is a file or a name.
        options: Where and how.

    Returns:
        The run directory.

    Raises:
        RecipeError: before any work, with everything that is wrong.
    """
    options = options or RunOptions()
    recipe = _loaded(recipe, overrides)
    if recipe.kind == "pipeline":
        return run_pipeline(recipe, options)
    if wants_folds(recipe):
        return run_folds(recipe, options)
    return run_training(_sized(recipe, options), options)


def build(recipe: Recipe | str | Path, overrides: Sequence[str] = (), options: RunOptions | None = None) -> Session:
    """A recipe made ready to train, for those who add callbacks or metrics: `build(recipe).trainer.train()`.

    Raises:
        RecipeError: for a recipe that cannot be run, and for one that stands for several trainings.
    """
    options = options or RunOptions()
    recipe = _loaded(recipe, overrides)
    if recipe.kind == "pipeline":
        raise RecipeError(
            Problem(recipe.where("kind"), "a pipeline has no trainer of its own", "build one of its steps")
        )
    if recipe.kind == SAMPLE:
        raise RecipeError(Problem(recipe.where("kind"), "kind: sample trains nothing", "say run instead of build"))
    if wants_folds(recipe):
        fault = "each fold has a trainer of its own"
        raise RecipeError(Problem(recipe.where("data.splits.folds"), fault, "choose one, as in data.splits.fold=1"))
    return open_session(_sized(recipe, options), options)


def _loaded(recipe: Recipe | str | Path, overrides: Sequence[str]) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe, overrides)


def _sized(recipe: Recipe, options: RunOptions) -> Recipe:
    return shrink(recipe).replace(name=f"{recipe.name}-smoke") if options.smoke else recipe
