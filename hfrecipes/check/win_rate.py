"""Whether those who judge the answers of a recipe's models are there, and whether the answers can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hfrecipes.check.data import dotted_problems
from hfrecipes.check.hub import repository_problems
from hfrecipes.check.rewards import model_problems, needed_columns, open_ours
from hfrecipes.check.signatures import signature_of
from hfrecipes.data.embedded import NAMES
from hfrecipes.data.sources import open_source
from hfrecipes.recipe.judge_words import COMPARE, TAX, WIN_RATE, judge_specs, kind_of
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.reward_words import FUNCTION, MODEL

# Divided by less, logits leave the range of single precision.
_COLDEST = 1e-3


def win_rate_problems(recipe: Recipe, promised: Iterable[Path]) -> list[Problem]:
    """What is wrong with `evaluation.win_rate` and `evaluation.alignment_tax`.

    Args:
        recipe: The recipe.
        promised: Models that earlier steps of a pipeline will make.
    """
    problems = _tax_problems(recipe)
    try:
        specs = judge_specs(recipe)
    except RecipeError as error:
        return [*problems, *error.problems]
    for place, spec in enumerate(specs):
        problems += _judge_problems(recipe, f"{WIN_RATE}.judges.{place}", spec, promised)
    if 0 < recipe.get(f"{WIN_RATE}.temperature", 0) < _COLDEST:
        fault = f"{WIN_RATE}.temperature is {recipe.get(f'{WIN_RATE}.temperature')}, by which no logits can be divided"
        fix = f"say 0, which takes the likeliest token, or {_COLDEST} and more"
        problems.append(Problem(recipe.where(f"{WIN_RATE}.temperature"), fault, fix))
    if specs and not (recipe.get("data.test") or recipe.get("data.eval")):
        fault = f"{WIN_RATE} needs held-out prompts, and neither data.test nor data.eval is there"
        problems.append(Problem(recipe.where(WIN_RATE), fault, "name data whose prompts both models are to answer"))
    return problems


def _judge_problems(recipe: Recipe, key: str, spec: dict[str, Any], promised: Iterable[Path]) -> list[Problem]:
    kind = kind_of(spec)
    if kind == MODEL:
        return model_problems(recipe, key, spec, promised)
    if kind == COMPARE:
        return dotted_problems(recipe, f"{key}.{COMPARE}") or _compare_problems(recipe, key, spec[COMPARE])
    function, problems = open_ours(recipe, key, spec)
    if function is not None and (columns := needed_columns(function)):
        fault = f"{key} reads the column {', '.join(sorted(columns))}, and a judge is given prompts and answers alone"
        problems = [Problem(recipe.where(f"{key}.{FUNCTION}"), fault, "take a function that needs no column")]
    return problems


def _compare_problems(recipe: Recipe, key: str, dotted: str) -> list[Problem]:
    """A judge of both answers that could not be called after the hours of training."""
    read = signature_of(dotted, recipe.path.parent)
    try:
        if read is not None:
            read[0].bind([], [], [])
    except TypeError:
        fault = f"{dotted} cannot be given three lists: prompts, first and second answers"
        fix = "define it like def judge(prompts, firsts, seconds)"
        return [Problem(recipe.where(f"{key}.{COMPARE}"), fault, fix)]
    return []


def _tax_problems(recipe: Recipe) -> list[Problem]:
    found = []
    for place, spec in enumerate(recipe.get(TAX) or []):
        where, name = recipe.where(f"{TAX}.{place}"), spec.get("name")
        if name and not spec.get("path") and name not in NAMES:
            found += repository_problems(name, "dataset", spec.get("revision"), where)
            continue
        try:
            open_source(spec, recipe, where)
        except RecipeError as error:
            found += error.problems
    return found
