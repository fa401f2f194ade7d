"""Whether the runs to compare with are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from hfrecipes.check.missing_runs import maker_of
from hfrecipes.check.promised import is_promised
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

_COMPARED, _OTHER_SEEDS = "evaluation.compare_runs", "evaluation.other_seeds"


def other_runs_problems(recipe: Recipe, promised: Iterable[Path]) -> list[Problem]:
    """What is wrong with `evaluation.compare_runs` and `evaluation.other_seeds`.

    Args:
        recipe: The recipe.
        promised: Run directories that earlier steps of a pipeline will fill.
    """
    promised = list(promised)
    named = list(_named_runs(recipe))
    problems = [
        problem
        for key, path in named
        if not is_promised(path, promised)
        for problem in _run_problems(recipe, recipe.where(key), path)
    ]
    problems += _repeated(recipe, named)
    if recipe.get(_OTHER_SEEDS) and not recipe.get(_COMPARED):
        fault = f"{_OTHER_SEEDS} says over which runs a comparison is made, and there is none"
        problems.append(Problem(recipe.where(_OTHER_SEEDS), fault, f"say {_COMPARED}, too, or take it out"))
    compared = recipe.get(_COMPARED) or {}
    for name in [name for name, paths in compared.items() if not paths] if isinstance(compared, dict) else []:
        fix = f"write {name}: [runs/A, runs/B], or take it out"
        problems.append(Problem(recipe.where(_COMPARED), f"{_COMPARED} names no run under {name}", fix))
    return problems


def _named_runs(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Key and folder of each run that the recipe names."""
    compared = recipe.get(_COMPARED) or []
    groups = (
        {_COMPARED: compared} if isinstance(compared, list) else {f"{_COMPARED}.{k}": v for k, v in compared.items()}
    )
    for key, paths in {_OTHER_SEEDS: recipe.get(_OTHER_SEEDS) or [], **groups}.items():
        for place, path in enumerate(paths or []):
            yield f"{key}.{place}", path


def _repeated(recipe: Recipe, named: list[tuple[str, str]]) -> Iterator[Problem]:
    """Runs that one list names twice: they would count twice."""
    seen = set()
    for key, path in named:
        run = (key.rpartition(".")[0], recipe.find_file(path).resolve())
        if run in seen:
            yield Problem(recipe.where(key), f"the run {path} is named twice", "name it once")
        seen.add(run)


def _run_problems(recipe: Recipe, where: str, path: str) -> list[Problem]:
    if not path.strip():
        return [Problem(where, "an empty name is given for a run", "give the folder of a run: runs/NAME")]
    folder = recipe.find_file(path)
    if folder.resolve() == Path("runs", recipe.name).resolve():
        fix = "name another run, or give this one a name of its own"
        return [Problem(where, f"{path} is the folder of this very run", fix)]
    if not folder.is_dir():
        fix = maker_of(folder, recipe) or "give the folder of a run: runs/NAME"
        return [Problem(where, f"there is no folder {path}", fix)]
    try:
        status = RunDir(folder).facts().get("status")
    except RecipeError as error:
        return error.problems
    if status == "complete":
        return []
    fix = "finish it first, or leave it out"
    return [Problem(where, f"the run {path} is {status}, and has no figures to compare", fix)]
