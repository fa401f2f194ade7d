"""What else is wrong with a recipe of which some words are: so that one look finds both, and nothing follows from the first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hfrecipes.check.agreement import agreement_problems
from hfrecipes.check.check import check_recipe
from hfrecipes.check.launch import launch_problems
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.salvage import Salvaged, salvage
from hfrecipes.recipe.validate import nearest
from hfrecipes.recipe.yaml_reader import Keys, dotted

# Whether rows can be read, and a model loaded, follows from every word of these sections.
_READ_AS_A_WHOLE = ("model", "data", "steps")


def further_problems(
    path_or_name: str | Path,
    overrides: Sequence[str],
    known: list[Problem],
    hardware: Hardware,
    *,
    num_processes: int = 1,
    publish: bool = False,
    runs_dir: Path,
) -> list[Problem]:
    """The problems of words of a recipe, and with them the errors in what its other words mean.

    The recipe is looked at without its faulty words. An error that speaks of one of them, or of a word like it, might come of
    its absence, and is left for the next look.

    Args:
        path_or_name: As for `load_recipe`, which refused it.
        overrides: As for `load_recipe`.
        known: What it said.
        hardware: The devices it would run on.
        num_processes: How many processes would train it.
        publish: Whether what stands in the way of publishing is an error.
        runs_dir: The folder in which the run directory would be made.
    """
    left = salvage(path_or_name, overrides)
    if left is None:
        return known
    found: list[Problem] = list(left.problems)
    if left.recipe is not None:
        asked: dict[str, Any] = {"num_processes": num_processes, "publish": publish, "runs_dir": runs_dir}
        found += _problems_of(left.recipe, left, hardware, asked)
    return list(dict.fromkeys([*known, *_independent(found, left)]))


def _problems_of(recipe: Recipe, left: Salvaged, hardware: Hardware, asked: dict[str, Any]) -> list[Problem]:
    if not any(keys[0] in _READ_AS_A_WHOLE for keys in left.faulty):
        return check_recipe(recipe, hardware, **asked)
    if recipe.kind == "pipeline":
        return []
    processes = asked["num_processes"]
    return [*agreement_problems(recipe, processes), *launch_problems(recipe, hardware, processes, asked["runs_dir"])]


def _independent(found: list[Problem], left: Salvaged) -> Iterator[Problem]:
    """The errors that have nothing to do with the words that were taken out, nor with the mappings these stood in."""
    names = [str(part) for keys in left.faulty for part in keys[-1:] if not isinstance(part, int)]
    names += [str(keys[-2]) for keys in left.faulty if len(keys) > 1 and isinstance(keys[-1], int)]
    holders = [keys[:-1] for keys in left.faulty if len(keys) > 2]
    for problem in found:
        text = f"{problem.message} {problem.fix}"
        spoken = set(re.findall(r"\w+", text))
        if problem.severity != "error" or any(nearest(name, spoken) for name in names):
            continue
        if not any(dotted(holder) in text or _is_at(problem, left, holder) for holder in holders):
            yield problem


def _is_at(problem: Problem, left: Salvaged, holder: Keys) -> bool:
    return left.recipe is not None and problem.where == left.recipe.where(dotted(holder))
