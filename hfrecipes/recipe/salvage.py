"""What is left of a recipe without the words that are wrong, so that the others can be checked in the same go."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfrecipes.recipe.loader import Recipe, check_words, read_recipe, schema_problems
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.sections import KINDS
from hfrecipes.recipe.yaml_reader import Keys

# A value that is taken out may leave its section without a word that it needs, which is then taken out, too.
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A recipe whose words are right, and what it lost for that.

    Args:
        recipe: The recipe without the faulty words.
        faulty: Their keys.
        problems: What is wrong with other words, and was not told yet.
    """

    recipe: Recipe | None
    faulty: tuple[Keys, ...]
    problems: tuple[Problem, ...] = ()


def salvage(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Salvaged | None:
    """A recipe that `load_recipe` refuses for its words, without these; None where too little of it is left.

    Args:
        path_or_name: As for `load_recipe`.
        overrides: As for `load_recipe`.
    """
    try:
        values, path, lines, said = read_recipe(path_or_name, overrides)
    except RecipeError:
        return None
    if values.get("kind") not in KINDS:
        return None
    faulty: list[Keys] = []
    for _ in range(_ROUNDS):
        found = _faulty_keys(values)
        if () in found:
            return None  # a section is missing
        faulty += found
        for keys in found:
            _take_out(values, keys)
        if not found:
            break
    try:
        recipe = check_words(values, path, lines, said)
    except RecipeError as error:
        return Salvaged(None, tuple(faulty), tuple(error.problems))
    return Salvaged(recipe, tuple(faulty))


def _faulty_keys(values: dict[str, Any]) -> list[Keys]:
    """The keys of each error that the schema finds."""
    places: list[Keys] = []

    def mark(keys: Keys) -> str:
        places.append(keys)
        return str(len(places) - 1)

    problems = schema_problems(copy.deepcopy(values), mark)
    return list(dict.fromkeys(places[int(problem.where)] for problem in problems if problem.severity == "error"))


def _take_out(values: Any, keys: Keys) -> None:
    """Removes a value; of a list the whole list, and of a mapping that lacks a key the mapping."""
    holders = [values]
    for key in keys:
        inner = holders[-1]
        there = (
            key in inner
            if isinstance(inner, dict)
            else isinstance(inner, list) and isinstance(key, int) and key < len(inner)
        )
        if not there:
            break
        holders.append(inner[key])
    reached = len(holders) - 1
    end = reached if reached < len(keys) else len(keys)
    while end and not isinstance(holders[end - 1], dict):
        end -= 1
    if end:
        holders[end - 1].pop(keys[end - 1], None)
