"""The plan of a pipeline: a plan per step, with totals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfrecipes.models.recipe_tokenizer import extends, number_added
from hfrecipes.plan.counts import DataCounts, estimate_counts, vocabulary_size
from hfrecipes.plan.model import planned_config, with_new_rows
from hfrecipes.plan.plan import Plan, make_plan
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.pipeline import expand_steps
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.resolve import resolve
from hfrecipes.recipe.rundir import RunDir


@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """Plans of the steps of a pipeline, in their order.

    Args:
        name: Name of the run.
        steps: Step name and plan.
    """

    name: str
    steps: tuple[tuple[str, Plan], ...]

    @property
    def flops(self) -> float | None:
        """Model FLOPs of all steps; None where those of one are not known."""
        return _sum([plan.compute and plan.compute.model_flops for _, plan in self.steps])

    @property
    def hours(self) -> float | None:
        return _sum([plan.compute and plan.compute.hours for _, plan in self.steps])

    @property
    def memory_bytes(self) -> float | None:
        """Of the step that needs most, since they run one after the other; None where one is not known."""
        needs = [plan.memory_bytes for _, plan in self.steps]
        return None if None in needs else max(need for need in needs if need is not None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: totals, and the plan of each step by its name."""
        memory = None if self.memory_bytes is None else round(self.memory_bytes)
        totals = {"flops": self.flops, "hours": self.hours, "memory_bytes": memory}
        return {
            "name": self.name,
            "kind": "pipeline",
            **totals,
            "steps": {name: plan.to_dict() for name, plan in self.steps},
        }


def plan_pipeline(pipeline: Recipe, hardware: Hardware, world_size: int = 1) -> PipelinePlan:
    """Plans every step. A step that takes an earlier step's model has that step's config.

    Raises:
        RecipeError: as `expand_steps` and `make_plan`.
    """
    # Nothing is written there: the folder only gives outputs of earlier steps their names.
    folder = Path("runs") / pipeline.name
    planned: dict[str, _Planned] = {}
    for step in expand_steps(pipeline, folder):
        recipe = resolve(step.recipe, hardware, world_size)
        start = _start(recipe, planned, folder)
        if start and start.recipe.get("adapter") and not recipe.get("adapter"):
            recipe = recipe.replace(adapter=start.recipe.get("adapter"))  # it is trained further
        # What is to be extended is not there yet: the tokenizer that it is made from reads in its place.
        reader = start.reader if start and (extends(recipe) or not recipe.get("model.tokenizer")) else recipe
        data = _promised_counts(recipe, reader, folder) or estimate_counts(recipe, tokenizer_of=reader)
        entries = data.vocab_size and data.vocab_size + number_added(recipe)
        config = with_new_rows(recipe, start.config, entries) if start else planned_config(recipe, data.vocab_size)
        known = None if isinstance(config, Problem) else config
        planned[step.name] = _Planned(recipe, make_plan(recipe, hardware, world_size, data, known), known, reader)
    return PipelinePlan(pipeline.name, tuple((name, entry.plan) for name, entry in planned.items()))


def _promised_counts(recipe: Recipe, reader: Recipe, folder: Path) -> DataCounts | None:
    """The counts of data that an earlier step will write: none, but for the size of the vocabulary; None for other data."""
    paths = [Path(spec["path"]) for _, spec in recipe.sources("train") if spec.get("path")]
    written = [path for path in paths if path.is_relative_to(folder) and not path.exists()]
    if not written:
        return None
    fault = f"rows cannot be counted: an earlier step will write {written[0].name}"
    problem = Problem(recipe.where("data.train"), fault, "plan the step alone once it is there", "unchecked")
    return DataCounts(None, None, vocab_size=vocabulary_size(reader), problems=(problem,))


@dataclass(frozen=True, slots=True)
class _Planned:
    """A step that is planned; `reader` is the recipe whose tokenizer its model reads with."""

    recipe: Recipe
    plan: Plan
    config: Any
    reader: Recipe


def _start(recipe: Recipe, planned: dict[str, _Planned], folder: Path) -> _Planned | None:
    """The earlier step whose model this one starts from."""
    name = recipe.get("model.name_or_path")
    return next((entry for step, entry in planned.items() if name == str(RunDir(folder / step).model)), None)


def _sum(values: list[float | None]) -> float | None:
    return None if None in values else sum(value for value in values if value is not None)
