"""What already stands where a run is to be written."""

from __future__ import annotations

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

# Kinds of run directories that hold runs, one for each step.
OF_STEPS = ("pipeline", "folds")


def refuse_occupied(run: RunDir, overwrite: bool, *, of_steps: str | None = None) -> None:
    """Lets a run begin in a folder that is empty, or holds a run of its own kind that is to be replaced.

    Args:
        run: The run directory.
        overwrite: Whether an earlier run may be replaced.
        of_steps: What is to be written where it consists of steps, `pipeline` or `folds`: its finished steps are kept.

    Raises:
        RecipeError: where something else is there.
    """
    if not run.facts_file.is_file():
        if run.path.is_dir() and any(path.is_file() for path in run.path.rglob("*")):
            fault = "holds files, but is no run directory"
            raise RecipeError(Problem(str(run.path), fault, "give the run another name"))
        return
    facts = run.facts()
    if (facts.get("kind") if facts.get("kind") in OF_STEPS else None) != of_steps:
        fault = f"holds a run of kind {facts.get('kind')}"
        raise RecipeError(Problem(str(run.path), fault, "give this one another name"))
    if not overwrite and of_steps is None:
        fault = f"holds a run already ({facts.get('status')})"
        fix = f"go on with it by --resume, begin anew with --overwrite, or say name={run.path.name}-2"
        raise RecipeError(Problem(str(run.path), fault, fix))


def refuse_misplaced(run: RunDir) -> None:
    """Makes sure that what a run goes on to write can be written, before the hours of work after which it would fail.

    Raises:
        RecipeError: naming each folder that stands in the place of a file, and each file in that of a folder.
    """
    files = (run.facts_file, run.recipe, run.metrics_file, run.card, run.report)
    folders = (run.checkpoints, run.model, *run.checkpoints.glob("checkpoint-*[0-9]"))
    misplaced = [(path, "a folder, where a run writes a file") for path in files if path.is_dir()]
    misplaced += [(path, "a file, where a run writes a folder") for path in folders if path.is_file()]
    if misplaced:
        raise RecipeError([Problem(str(path), f"is {words}", "remove it") for path, words in misplaced])
