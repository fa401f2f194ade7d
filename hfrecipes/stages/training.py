"""One recipe that trains: checked, then handed to a session."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from hfrecipes.check.check import check_recipe
from hfrecipes.check.hub import stay_offline
from hfrecipes.recipe.hardware import Hardware, detect_hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.recipe.source_list import SAMPLE
from hfrecipes.stages.options import RunOptions, make_console
from hfrecipes.stages.processes import Processes

if TYPE_CHECKING:
    from hfrecipes.stages.session import Session


def run_training(recipe: Recipe, options: RunOptions) -> Path:
    """Runs a recipe that is no pipeline, to its finished run directory.

    Raises:
        RecipeError: before any work, with everything that is wrong.
    """
    if recipe.kind == SAMPLE:
        return _run_sample(recipe, options)
    session = open_session(recipe, options)
    return session.train(resume=options.resume, overwrite=options.overwrite, allow_change=options.allow_change)


def _run_sample(recipe: Recipe, options: RunOptions) -> Path:
    processes, hardware = Processes.here(), _hardware(options)
    stay_offline(recipe)
    warnings = _check(recipe, hardware, processes, options.runs_dir, make_console(options, processes))
    # Only a checked recipe is worth the seconds that torch takes to import.
    from hfrecipes.stages.quiet import quiet_libraries

    quiet_libraries()
    from hfrecipes.stages.sample import run_sample

    return run_sample(recipe, options, hardware, warnings)


def _hardware(options: RunOptions) -> Hardware:
    """The devices of this machine; a small trial needs no more than a CPU."""
    hardware = detect_hardware()
    if options.smoke:
        return dataclasses.replace(hardware, device="cpu", count=1, bf16=False, flash_attention=False)
    return hardware


def open_session(recipe: Recipe, options: RunOptions) -> Session:
    """Checks a recipe and readies it; nothing is loaded or prepared yet.

    Raises:
        RecipeError: with everything that is wrong.
    """
    processes = Processes.here()
    console = make_console(options, processes)
    hardware = _hardware(options)
    stay_offline(recipe)
    warnings = _check(recipe, hardware, processes, options.runs_dir, console)
    # Only a checked recipe is worth the seconds that torch takes to import.
    from hfrecipes.stages.quiet import quiet_libraries

    quiet_libraries()
    from hfrecipes.stages.session import Session

    return Session(recipe, RunDir(options.runs_dir / recipe.name), hardware, processes, console, warnings)


def refuse_errors(problems: list[Problem]) -> None:
    """Raises where any problem is an error.

    Raises:
        RecipeError: with all of them.
    """
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise RecipeError(errors)


def _check(recipe: Recipe, hardware: Hardware, processes: Processes, runs_dir: Path, console: Console) -> list[str]:
    problems = check_recipe(recipe, hardware, num_processes=processes.world_size, runs_dir=runs_dir)
    refuse_errors(problems)
    warnings = [str(problem) for problem in problems if problem.severity == "warning"]
    for warning in warnings:
        console.print(warning, style="yellow", highlight=False, markup=False)
    return warnings
