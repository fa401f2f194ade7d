"""`kind: pipeline`: the steps that its recipe lists."""

from __future__ import annotations

from pathlib import Path

from hfrecipes.check.check import check_recipe
from hfrecipes.recipe.hardware import detect_hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.pipeline import expand_steps
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.options import RunOptions
from hfrecipes.stages.steps import run_steps
from hfrecipes.stages.training import refuse_errors


def run_pipeline(pipeline: Recipe, options: RunOptions) -> Path:
    """Runs the steps of a pipeline that are not finished yet.

    Returns:
        The pipeline's run directory; each step's lies below it.

    Raises:
        RecipeError: for a pipeline that cannot be run, and as `run_steps`.
    """
    name = f"{pipeline.name}-smoke" if options.smoke else pipeline.name
    folder = RunDir(options.runs_dir / name)
    steps = expand_steps(pipeline, folder.path)
    if not options.smoke:
        refuse_errors(check_recipe(pipeline, detect_hardware(), runs_dir=options.runs_dir))
    run_steps(pipeline, "pipeline", steps, folder, options)
    return folder.path
