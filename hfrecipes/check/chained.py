"""What a step of a pipeline can be told by the models that earlier steps will make: how many positions these will have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hfrecipes.check.model import look_at_model, number_of_positions, position_problems
from hfrecipes.models.rope_config import rope_change
from hfrecipes.recipe.pipeline import Step
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.rundir import RunDir


def chained_position_problems(steps: Sequence[Step], run_dir: Path) -> list[Problem]:
    """Rows that are longer than what a model can read that is not there yet.

    Args:
        steps: Of a pipeline, in their order. Those that change positions are looked at by `chained_rope_problems`.
        run_dir: The pipeline's run directory.
    """
    problems: list[Problem] = []
    made: dict[str, int | None] = {}
    for step in steps:
        name = step.recipe.get("model.name_or_path")
        if name in made:
            positions = made[name]
            where = step.recipe.where("model.name_or_path")
            problems += position_problems(step.recipe, {"max_position_embeddings": positions}, where)
        else:
            positions = number_of_positions(look_at_model(step.recipe, ()).config)
        changed = rope_change(step.recipe) is not None
        made[str(RunDir(run_dir / step.name).model)] = None if changed else positions
    return problems
