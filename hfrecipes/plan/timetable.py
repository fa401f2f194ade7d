"""Whether what a recipe dates by steps comes before the last one."""

from __future__ import annotations

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem


def timetable_problems(recipe: Recipe, steps: int) -> list[Problem]:
    """Warnings for what a run of so many steps never comes to: the end of the warm-up, a measurement, a line of the log.

    What is looked at is what the recipe itself says, before defaults are filled in. Only whole numbers of steps can lie too late;
    shares of the run cannot. That a save lies too late is no fault, since the trained model is saved at the end.
    """
    found = [_warmup(recipe, steps)]
    if recipe.get("training.eval_strategy", "steps") == "steps" and recipe.sources("eval"):
        found.append(_too_late(recipe, "eval_steps", steps, "data.eval is measured at the end alone"))
    if recipe.get("training.logging_strategy", "steps") == "steps":
        found.append(_too_late(recipe, "logging_steps", steps, "metrics.jsonl gets no line, and the report no curve"))
    return [problem for problem in found if problem is not None]


def _warmup(recipe: Recipe, steps: int) -> Problem | None:
    warmup = recipe.get("training.warmup_steps")
    if not _counts_steps(warmup) or warmup < steps:
        return None
    reached = f"{steps / warmup:.0%} of training.learning_rate"
    fault = f"the learning rate rises for {warmup:,} steps and the run has {steps:,}: it ends at {reached}"
    return _problem(recipe, "warmup_steps", fault, "lower it, or say a share of the run: 0.05")


def _too_late(recipe: Recipe, word: str, steps: int, outcome: str) -> Problem | None:
    every = recipe.get(f"training.{word}")
    if not _counts_steps(every) or every <= steps:
        return None
    return _problem(
        recipe, word, f"the run ends after {steps:,} steps: {outcome}", "lower it, or say a share of the run: 0.1"
    )


def _problem(recipe: Recipe, word: str, fault: str, fix: str) -> Problem:
    key = f"training.{word}"
    return Problem(recipe.where(key), f"{key} is {recipe.get(key):,}; {fault}", fix, "warning")


def _counts_steps(value: object) -> bool:
    """Below 1, a number is a share of the run."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1
