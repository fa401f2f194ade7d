"""Everything that can be known to be wrong with a recipe before it runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hfrecipes.check.adapters import adapter_problems
from hfrecipes.check.agreement import agreement_problems
from hfrecipes.check.chained import chained_position_problems
from hfrecipes.check.data import data_problems, scan_sources, shape_problems
from hfrecipes.check.launch import RUNS, launch_problems
from hfrecipes.check.lengths import length_problems
from hfrecipes.check.long_context import chained_rope_problems, long_context_problems
from hfrecipes.check.model import look_at_model, model_problems, number_of_positions
from hfrecipes.check.other_runs import other_runs_problems
from hfrecipes.check.publish import publish_problems
from hfrecipes.check.regularization import regularization_problems
from hfrecipes.check.rewards import reward_problems
from hfrecipes.check.security import security_problems
from hfrecipes.check.task import metric_problems
from hfrecipes.check.tokenizer import look_at_tokenizer, tokenizer_problems
from hfrecipes.check.win_rate import win_rate_problems
from hfrecipes.models.rope_config import rope_change
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.pipeline import expand_steps
from hfrecipes.recipe.problem import Problem, RecipeError


def check_recipe(
    recipe: Recipe,
    hardware: Hardware,
    *,
    num_processes: int = 1,
    publish: bool = False,
    runs_dir: Path = RUNS,
) -> list[Problem]:
    """Every problem of a recipe, found by reading alone: no weights are loaded and nothing is written.

    Args:
        recipe: A recipe whose words are known to be right.
        hardware: The devices it would run on.
        num_processes: How many processes would train it.
        publish: Whether what stands in the way of publishing is an error rather than a warning.
        runs_dir: The folder in which the run directory would be made.

    Returns:
        Problems without repeats: errors, warnings, and what could not be looked at.
    """
    if recipe.kind == "pipeline":
        problems = _pipeline_problems(recipe, hardware, num_processes, publish, runs_dir)
    else:
        problems = _recipe_problems(recipe, hardware, num_processes, publish, runs_dir)
    return list(dict.fromkeys([*security_problems(), *problems]))


def _pipeline_problems(
    pipeline: Recipe, hardware: Hardware, num_processes: int, publish: bool, runs_dir: Path
) -> list[Problem]:
    run_dir = runs_dir / pipeline.name
    try:
        steps = expand_steps(pipeline, run_dir)
    except RecipeError as error:
        return error.problems
    problems = [*chained_rope_problems(steps, run_dir), *chained_position_problems(steps, run_dir)]
    for step in steps:
        promised = [run_dir / name for name in step.uses]
        problems += _recipe_problems(step.recipe, hardware, num_processes, publish, run_dir, promised)
    return problems


def _recipe_problems(
    recipe: Recipe,
    hardware: Hardware,
    num_processes: int,
    publish: bool,
    runs_dir: Path,
    promised: Iterable[Path] = (),
) -> list[Problem]:
    model = look_at_model(recipe, promised)
    tokenizer, unreadable = look_at_tokenizer(recipe, promised)
    scans = scan_sources(recipe, promised)
    shapes = [*tokenizer_problems(recipe, tokenizer, model.config, scans), *shape_problems(recipe, scans)]
    problems = [
        *agreement_problems(recipe, num_processes),
        *adapter_problems(recipe, hardware, model.config, promised),
        *model_problems(recipe, model),
        *regularization_problems(recipe, model.config),
        *long_context_problems(recipe, model.config),
        *unreadable,
        *shapes,
        *data_problems(recipe, scans, promised),
        *metric_problems(recipe),
        *reward_problems(recipe, scans, promised),
        *win_rate_problems(recipe, promised),
        *other_runs_problems(recipe, promised),
        *launch_problems(recipe, hardware, num_processes, runs_dir),
        *publish_problems(recipe, publish),
        *recipe.unchecked,
    ]
    # Rows that cannot be rendered have no length, and it has been said why.
    if tokenizer is not None and not any(problem.severity == "error" for problem in shapes):
        positions = None if rope_change(recipe) else number_of_positions(model.config)
        problems += length_problems(recipe, tokenizer, scans, positions)
    return problems
