"""What already stands where a run is to be written."""

from __future__ import annotations

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir


def refuse_occupied(run: RunDir, overwrite: bool, *, pipeline: bool = False) -> None:
    """Lets a run begin in a folder that is empty, or holds a run of its own kind that is to be replaced.

    Args:
        run: The run directory.
        overwrite: Whether an earlier run may be replaced.
        pipeline: Whether a pipeline is to be written, whose finished steps are kept.

    Raises:
        RecipeError: where something else is there.
    """
    if not run.facts_file.is_file():
        if run.path.is_dir() and any(path.is_file() for path in run.path.rglob("*")):
            fault = "holds files, but is no run directory"
            raise RecipeError(Problem(str(run.path), fault, "give the run another name"))
        return
    facts = run.facts()
    if (facts.get("kind") == "pipeline") != pipeline:
        fault = f"holds a run of kind {facts.get('kind')}"
        raise RecipeError(Problem(str(run.path), fault, "give this one another name"))
    if not overwrite and not pipeline:
        fault = f"holds a run already ({facts.get('status')})"
        fix = f"go on with it by --resume, begin anew with --overwrite, or say name={run.path.name}-2"
        raise RecipeError(Problem(str(run.path), fault, fix))
