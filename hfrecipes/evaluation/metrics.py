"""Task metrics by name. Importing this costs nothing: `evaluate` itself is imported when a metric is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from hfrecipes.data.formats import load_function
from hfrecipes.recipe.problem import Problem, RecipeError

METRIC_NAMES = ("answer_match", "chrf", "docstring_f1", "exact_match", "final_answer_match", "python_parses")


class TaskMetric(Protocol):
    """A metric that can also score examples one by one, which intervals are made of.

    Args:
        name: As it stands in run.json.
        unit: Of the value.
        higher_is_better: Which way is up.
        bounded: Whether every score lies between 0 and 1.
    """

    name: str
    unit: str
    higher_is_better: bool
    bounded: bool

    def compute(self, *, predictions: Sequence[str], references: Sequence[str]) -> dict[str, Any]: ...

    def score_rows(self, predictions: Sequence[str], references: Sequence[str]) -> list[float]: ...


def load_metric(name: str, where: str = "evaluation.task.metric", folder: Path | None = None) -> TaskMetric:
    """A metric by name, without the network.

    Args:
        name: One of METRIC_NAMES; `module:Class` of an `evaluate.Metric`; or a folder that `evaluate.load` can read.
        where: Names the place in the recipe in errors.
        folder: The recipe's folder: modules and folders beside the recipe are found.

    Raises:
        RecipeError: where there is no such metric, or it is not an `evaluate.Metric`.
    """
    if name in METRIC_NAMES:
        from hfrecipes.evaluation.evaluate_metrics import SHIPPED

        return SHIPPED[name]()
    module = _from_module(name, where, folder) if ":" in name else _from_folder(name, where, folder)
    if callable(getattr(module, "score_rows", None)) and hasattr(module, "unit"):
        return module
    from hfrecipes.evaluation.evaluate_metrics import SingletonScores

    return SingletonScores(module)


def _from_module(name: str, where: str, folder: Path | None) -> Any:
    """An instance of the class that `module:Class` names."""
    import evaluate

    try:
        metric_class = load_function(name, folder)
    except RecipeError as error:
        raise RecipeError([replace(problem, where=where) for problem in error.problems]) from error
    if not (isinstance(metric_class, type) and issubclass(metric_class, evaluate.EvaluationModule)):
        raise RecipeError(Problem(where, f"{name} is not a class of metrics", "derive it from evaluate.Metric"))
    try:
        return metric_class()
    except (Exception, SystemExit) as error:  # a user's class can fail in any way
        fault = f"{name} cannot be built: {type(error).__name__}: {error}"
        raise RecipeError(Problem(where, fault, "correct the class; it is built without words")) from error


def _from_folder(name: str, where: str, folder: Path | None) -> Any:
    import evaluate

    places = [folder / name] if folder is not None else []
    path = next((place for place in [*places, Path(name)] if place.is_dir()), None)
    if path is None:
        near = difflib.get_close_matches(name, METRIC_NAMES, n=1)
        fix = f"did you mean {near[0]}?" if near else f"known: {', '.join(METRIC_NAMES)}; or module:Class; or a folder"
        raise RecipeError(Problem(where, f"{name!r} is not a metric", fix))
    try:
        return evaluate.load(str(path))
    except (OSError, ValueError, ImportError, AttributeError, TypeError) as error:
        fix = f"the folder holds {path.name}.py with one evaluate.Metric in it"
        raise RecipeError(Problem(where, f"evaluate cannot load {name!r}: {error}", fix)) from error
