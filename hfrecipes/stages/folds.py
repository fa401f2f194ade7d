"""K-fold cross-validation: one training for each fold, and what they say together."""

from __future__ import annotations

from pathlib import Path

from hfrecipes.evaluation.folds import fold_figures
from hfrecipes.recipe.folds import expand_folds
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.options import RunOptions
from hfrecipes.stages.pages import write_pages
from hfrecipes.stages.processes import Processes
from hfrecipes.stages.steps import run_steps


def run_folds(recipe: Recipe, options: RunOptions) -> Path:
    """Trains on each fold that is not finished yet, and writes means and spreads.

    Returns:
        The run directory of them all: `fold-1/` ... below it, figures under `folds` in run.json, and a card and a report that
        lay the runs beside one another.

    Raises:
        RecipeError: as for each training.
    """
    folder = RunDir(options.runs_dir / (f"{recipe.name}-smoke" if options.smoke else recipe.name))
    steps = expand_folds(recipe)
    run_steps(recipe, "folds", steps, folder, options)
    if Processes.here().is_main:
        runs = [RunDir(folder.path / step.name) for step in steps]
        figures = fold_figures([run.facts().get("evaluations", []) for run in runs])
        folder.write_facts(folder.facts() | {"folds": figures})
        write_pages(folder)
    return folder.path
