"""Runs that are said to be of one recipe with different seeds: whether they are, before the hours of training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.changes import HARMLESS
from hfrecipes.stages.keys import begins, change_words, flatten
from hfrecipes.stages.measured_runs import MeasuredRun, read_run, this_run

_SEEDS = ("training.seed", "training.data_seed", "data.mixture.seed", "data.augment_seed")
# Each may go on from a run of its own.
_STARTS = ("model.name_or_path", "model.tokenizer")
_OTHER_SEEDS, _COMPARED = "evaluation.other_seeds", "evaluation.compare_runs"
_SHOWN = 4


def refuse_unlike_runs(recipe: Recipe) -> None:
    """Looks at the runs of `evaluation.other_seeds`, and at each group of `evaluation.compare_runs`.

    Args:
        recipe: Resolved, as those of the runs are.

    Raises:
        RecipeError: naming runs that differ in more than their seeds, and those that have a seed twice.
    """
    own = this_run(recipe, [], [], {})
    mates = recipe.get(_OTHER_SEEDS) or []
    groups = [([own, *(read_run(recipe, place) for place in mates)], recipe.where(_OTHER_SEEDS))]
    compared = recipe.get(_COMPARED) or []
    if isinstance(compared, dict):
        where = recipe.where(_COMPARED)
        groups += [([read_run(recipe, place) for place in places], where) for places in compared.values() if places]
    problems = [problem for runs, where in groups for problem in _problems(runs, where)]
    if problems:
        raise RecipeError(problems)


def _problems(runs: Sequence[MeasuredRun], where: str) -> list[Problem]:
    first, problems = runs[0], []
    seeds = {first.seed: first}
    for run in runs[1:]:
        if unlike := _unlike(first.recipe, run.recipe):
            shown = "; ".join(unlike[:_SHOWN])
            fault = f"{run.place} differs from {first.place} in more than the seed: {shown}"
            problems.append(Problem(where, fault, "list runs of one recipe, which differ in training.seed alone"))
        elif run.seed in seeds:
            fault = f"{run.place} has training.seed {run.seed}, as {seeds[run.seed].place} has"
            problems.append(Problem(where, fault, "list each seed once"))
        seeds.setdefault(run.seed, run)
    return problems


def _unlike(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    old, new = flatten(one), flatten(other)
    return [
        change_words(key, old, new).replace(" was ", " is ", 1).replace(", is ", " against ", 1)
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and not begins(key, (*HARMLESS, *_SEEDS))
        and not (key in _STARTS and _comes_of_a_run(old.get(key)) and _comes_of_a_run(new.get(key)))
    ]


def _comes_of_a_run(value: Any) -> bool:
    return isinstance(value, str) and RunDir(Path(value).parent).facts_file.is_file()
