"""Whether the recipe of a run that is resumed is the one that began: what may differ, what must not, and what was allowed to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.stages.keys import begins, change_words, flatten, is_allowed

# What these say changes neither the data, nor the steps, nor what they learn.
HARMLESS = (
    "name",
    "publish",
    "evaluation",
    "training.per_device_train_batch_size",
    "training.per_device_eval_batch_size",
    "training.dataloader_",
    "training.logging_",
    "training.save_",
    "training.report_to",
)
_SHOWN = 6
_PARTS = ("data", "model")


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs from the run that began, and was allowed to.

    Args:
        accepted: `key was A, is B` for each.
        harmless: The same of what needs no permission.
        known: Whether there was a recipe to compare with.
    """

    accepted: tuple[str, ...] = ()
    harmless: tuple[str, ...] = ()
    known: bool = True


def compare_recipes(before: dict[str, Any], recipe: Recipe, allowed: Sequence[str], where: Path) -> Changes:
    """Compares the resolved recipe a run began with and the one it is resumed with.

    Args:
        before: The values it began with.
        recipe: Today's, resolved.
        allowed: Dotted keys that were changed on purpose; a key stands for all below it.
        where: The run directory.

    Raises:
        RecipeError: naming the keys that differ and were not allowed to, and allowed ones that do not differ.
    """
    old, new = flatten(before), flatten(recipe.values)
    differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    changed = [key for key in differing if not begins(key, HARMLESS)]
    refused = [key for key in changed if not is_allowed(key, allowed)]
    if refused:
        shown = "; ".join(change_words(key, old, new) for key in refused[:_SHOWN])
        flags = " ".join(f"--allow-change {key}" for key in refused[:_SHOWN])
        fix = f"resume the recipe as it was, begin a run of another name, or where it is meant: {flags}"
        raise RecipeError(Problem(str(where), f"the recipe has changed since this run began: {shown}", fix))
    accepted = [key for key in changed if key not in refused]
    harmless = [key for key in differing if key not in changed]
    return Changes(*(tuple(change_words(key, old, new) for key in keys) for keys in (accepted, harmless)))


def refuse_idle_allowances(allowed: Sequence[str], changes: Changes, earlier: dict[str, Any], where: Path) -> None:
    """A key that is allowed to differ and does not is a misspelt one, unless it did in a session before.

    So the line that extends a run may be given again after the extension was cut off, too.

    Raises:
        RecipeError: naming it. `data` and `model` may be allowed alone: what they name can change under the same words.
    """
    before = [change for session in earlier.get("sessions") or [] for change in session.get("changes") or []]
    keys = [str(change).split(" was ")[0] for change in [*changes.accepted, *before]]
    idle = [name for name in allowed if not any(is_allowed(key, [name]) for key in keys) and name not in _PARTS]
    if idle:
        fix = f"these have changed: {', '.join(keys)}" if keys else "nothing has changed: resume without it"
        raise RecipeError(Problem(f"--allow-change {idle[0]}", f"{idle[0]} is as it was in {where}", fix))
