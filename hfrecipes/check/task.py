"""Whether the metric of a task exists."""

from __future__ import annotations

from pathlib import Path

from hfrecipes.check.data import dotted_problems
from hfrecipes.evaluation.metrics import METRIC_NAMES
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.validate import nearest


def metric_problems(recipe: Recipe) -> list[Problem]:
    """A metric is one of ours, `module:Class`, or a folder for `evaluate.load`."""
    key = "evaluation.task.metric"
    name = recipe.get(key)
    if name is None or name in METRIC_NAMES:
        return []
    if ":" in name:
        return dotted_problems(recipe, key)
    if any(place.is_dir() for place in (recipe.path.parent / name, Path(name))):
        return []
    guess = nearest(name, METRIC_NAMES)
    fix = f"did you mean {guess}?" if guess else f"it is one of {', '.join(METRIC_NAMES)}, or module:Class"
    return [Problem(recipe.where(key), f"{key} {name!r} is not a metric", fix)]
