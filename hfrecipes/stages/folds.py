"""K-fold cross-validation: one training for each fold, and what they say together."""

from __future__ import annotations

from pathlib import Path

from hfrecipes.check.check import check_recipe
from hfrecipes.evaluation.folds import fold_figures
from hfrecipes.recipe.folds import expand_folds
from hfrecipes.recipe.hardware import detect_hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.options import RunOptions
from hfrecipes.stages.pages import write_pages
from hfrecipes.stages.processes import Processes
from hfrecipes.stages.steps import run_steps
from hfrecipes.stages.training import refuse_errors


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
    # All are checked alike, so one tells before anything is written what would stop the first.
    refuse_errors(check_recipe(steps[0].recipe, detect_hardware(), num_processes=Processes.here().world_size))
    run_steps(recipe, "folds", steps, folder, options)
    if Processes.here().is_main:
        runs = [RunDir(folder.path / step.name) for step in steps]
        figures = fold_figures([run.facts().get("evaluations", []) for run in runs])
        folder.write_facts(folder.facts() | {"folds": figures})
        write_pages(folder)
    return folder.path
