"""The words of `rewards:`, a list of what scores the answers of a policy: functions with words of their own, and models."""

from __future__ import annotations

from collections.abc import Collection
from numbers import Real
from typing import TYPE_CHECKING, Any

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.validate import LARGEST, nearest, validate
from hfrecipes.recipe.words import FROM_PRETRAINED
from hfrecipes.recipe.yaml_reader import dotted

if TYPE_CHECKING:
    from hfrecipes.recipe.loader import Recipe

FUNCTION, MODEL, WEIGHT = "function", "model", "weight"
# Beside a model, all other words are those of `from_pretrained`.
_OF_MODELS = (MODEL, WEIGHT, "revision", "dtype", "attn_implementation")
# Words of functions follow from their signatures, which check/rewards.py looks at.
REWARDS: dict[str, Any] = {
    "type": "array",
    "description": "What scores answers; the weighted sum counts.",
    "items": {
        "type": "object",
        "x-checked-by": FUNCTION,
        "properties": {
            FUNCTION: {
                "type": "string",
                "description": "package.module:name of a function or class; its words stand beside it.",
            },
            MODEL: {"type": "string", "description": "Instead: a reward model, as a folder, a run's, or a Hub id."},
            WEIGHT: {"type": "number", "description": "What it counts. Default: 1."},
            "revision": {"type": "string", "description": "The commit of a model on the Hub."},
            "dtype": {**FROM_PRETRAINED["dtype"], "description": "Of a model's weights."},
        },
    },
}


def reward_specs(recipe: Recipe) -> list[dict[str, Any]]:
    """The rewards of a recipe, as it says them.

    Raises:
        RecipeError: with all that is wrong with their words, but for those that functions have.
    """
    specs = recipe.get("rewards") or []
    problems = [problem for place in range(len(specs)) for problem in _problems(recipe, place)]
    if not specs:
        fix = "add one, as in [{function: hfrecipes.rewards:new_statement}] or [{model: runs/reward/model}]"
        problems = [Problem(recipe.where("rewards"), "rewards names nothing that scores answers", fix)]
    if problems:
        raise RecipeError(problems)
    return specs


def own_words(spec: dict[str, Any]) -> dict[str, Any]:
    """A reward without its weight: its name, and what it is built with."""
    return {word: value for word, value in spec.items() if word != WEIGHT}


def _problems(recipe: Recipe, place: int) -> list[Problem]:
    key = f"rewards.{place}"
    spec, where = recipe.get(key), recipe.where(key)
    named = [name for name in (FUNCTION, MODEL) if spec.get(name) is not None]
    if len(named) != 1:
        fault = "says both function and model" if named else "names neither a function nor a model"
        fix = "give each an entry of its own" if named else "say function: module:name, or model: a folder or Hub id"
        return [Problem(where, f"{key} {fault}", fix)]
    found = []
    if not isinstance(spec[named[0]], str):
        found.append(Problem(where, f"{key}.{named[0]} is {spec[named[0]]!r}", "it is a string"))
    weight = spec.get(WEIGHT, 1.0)
    if not isinstance(weight, Real) or isinstance(weight, bool) or not abs(weight) < LARGEST:
        fix = f"it is a number below {LARGEST:.2g} in size, such as 1.0"
        found.append(Problem(recipe.where(f"{key}.{WEIGHT}"), f"{key}.{WEIGHT} is {weight!r}", fix))
    elif weight == 0:
        fault = f"{key}.{WEIGHT} is 0, so that it counts nothing"
        found.append(Problem(recipe.where(f"{key}.{WEIGHT}"), fault, "remove the reward"))
    return found + word_problems(recipe, key, _OF_MODELS) if named == [MODEL] else found


def word_problems(recipe: Recipe, key: str, known: Collection[str]) -> list[Problem]:
    """What is wrong with the words beside a model that scores: unknown ones, and those of `from_pretrained`.

    Args:
        recipe: The recipe.
        key: The model's entry in it.
        known: The words that it may have.
    """
    found = []
    for word, value in recipe.get(key).items():
        place = f"{key}.{word}"
        if word not in known:
            guess = nearest(word, known)
            fix = f"did you mean {guess}?" if guess else f"known here: {', '.join(known)}"
            found.append(Problem(recipe.where(place), f"{place} is not a known key", fix))
        elif word in FROM_PRETRAINED and value is not None:
            found += validate(value, FROM_PRETRAINED[word], {}, lambda keys: recipe.where(dotted(keys)), (place,))
    return found
