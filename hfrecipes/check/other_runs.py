"""Whether the runs to compare with are there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hfrecipes.check.promised import is_promised
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

_KEY = "evaluation.compare_runs"


def other_runs_problems(recipe: Recipe, promised: Iterable[Path]) -> list[Problem]:
    """What is wrong with `evaluation.compare_runs`.

    Args:
        recipe: The recipe.
        promised: Run directories that earlier steps of a pipeline will fill.
    """
    problems = []
    for place, path in enumerate(recipe.get(_KEY, [])):
        where, folder = recipe.where(f"{_KEY}.{place}"), recipe.find_file(path)
        if is_promised(path, promised):
            continue
        if not folder.is_dir():
            problems.append(Problem(where, f"there is no folder {path}", "give the folder of a run: runs/NAME"))
            continue
        try:
            status = RunDir(folder).facts().get("status")
        except RecipeError as error:
            problems += error.problems
            continue
        if status != "complete":
            fix = "finish it first, or leave it out"
            problems.append(Problem(where, f"the run {path} is {status}, and has no figures to compare", fix))
    return problems
