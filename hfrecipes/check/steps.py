"""How often something is done: every so many steps, which are whole ones, or a share of all of them."""

from __future__ import annotations

from collections.abc import Iterator

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem

# In transformers' words, a number of steps from 1 on, and below it a share of the whole training.
_INTERVALS = ("logging_steps", "save_steps", "eval_steps")


def step_problems(recipe: Recipe) -> Iterator[Problem]:
    """Numbers of steps that are neither whole nor a share."""
    for word in _INTERVALS:
        key = f"training.{word}"
        steps = recipe.get(key)
        if isinstance(steps, float) and steps > 1 and not steps.is_integer():
            fault = f"{key} is {steps:g}: from 1 on it counts steps, of which there are whole ones only"
            fix = f"say {int(steps)} or {int(steps) + 1}, or a share of all steps such as 0.1"
            yield Problem(recipe.where(key), fault, fix)
