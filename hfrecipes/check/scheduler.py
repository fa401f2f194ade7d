"""Whether a schedule of the learning rate has the words that it cannot do without, in `training.lr_scheduler_kwargs`."""

from __future__ import annotations

from collections.abc import Iterator

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem

# By schedule: words of which it needs one; a test holds them against transformers.
NEEDED = {
    "warmup_stable_decay": ("num_decay_steps",),
    "cosine_with_min_lr": ("min_lr_rate", "min_lr"),
    "cosine_warmup_with_min_lr": ("min_lr_rate", "min_lr"),
}
_EXAMPLES = {"num_decay_steps": 100, "min_lr_rate": 0.1, "min_lr": 1e-6}


def scheduler_problems(recipe: Recipe) -> Iterator[Problem]:
    """What is missing beside `training.lr_scheduler_type`, or contradicts the learning rate."""
    name, kwargs = recipe.get("training.lr_scheduler_type"), recipe.get("training.lr_scheduler_kwargs", {})
    needed = NEEDED.get(name, ())
    if needed and all(kwargs.get(word) is None for word in needed):
        fault = f"training.lr_scheduler_type {name} needs {' or '.join(needed)}"
        fix = f"add lr_scheduler_kwargs: {{{needed[0]}: {_EXAMPLES[needed[0]]}}}"
        yield Problem(recipe.where("training.lr_scheduler_type"), fault, fix)
    rate, end = recipe.get("training.learning_rate"), kwargs.get("lr_end")
    if name == "polynomial" and isinstance(end, int | float) and rate is not None and end >= rate:
        key = "training.lr_scheduler_kwargs.lr_end"
        fault = f"{key} is {end:g}, and training.learning_rate, which falls to it, {rate:g}"
        yield Problem(recipe.where(key), fault, "let it be lower")
