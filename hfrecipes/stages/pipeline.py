"""`kind: pipeline`: steps in order, each a run of its own; finished steps are not run again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from hfrecipes.callbacks.manifest import newest_valid
from hfrecipes.check.check import check_recipe
from hfrecipes.recipe.hardware import detect_hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.pipeline import Step, expand_steps
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir, now
from hfrecipes.recipe.smoke import shrink
from hfrecipes.stages.occupied import refuse_occupied
from hfrecipes.stages.options import RunOptions, make_console
from hfrecipes.stages.processes import Processes
from hfrecipes.stages.training import refuse_errors, run_training


def run_pipeline(pipeline: Recipe, options: RunOptions) -> Path:
    """Runs the steps that are not finished yet, in order.

    A step is finished when its run is complete and its recipe and the steps it builds on are those it ran with. A step that
    was cut off goes on from its last checkpoint.

    Returns:
        The pipeline's run directory; each step's lies below it.

    Raises:
        RecipeError: for a pipeline that cannot be run, and where a finished step's recipe has changed since.
    """
    name = f"{pipeline.name}-smoke" if options.smoke else pipeline.name
    folder = RunDir(Path(options.runs_dir) / name)
    steps = expand_steps(pipeline, folder.path)
    if not options.smoke:
        refuse_errors(check_recipe(pipeline, detect_hardware(), runs_dir=options.runs_dir))
    processes = Processes.here()
    console = make_console(options, processes)
    done: dict[str, dict[str, Any]] = {}
    if processes.is_main:
        refuse_occupied(folder, options.overwrite, pipeline=True)
        _write_facts(folder, pipeline, name, done, finished=False)
    for number, step in enumerate(steps, 1):
        run_dir = RunDir(folder.path / step.name)
        mark = _mark(step, done, options)
        state = _state(run_dir, mark, options)
        console.rule(
            f"step {number} of {len(steps)}: {step.name} ({'finished' if state == 'done' else step.recipe.kind})"
        )
        if state != "done":
            _run_step(step, run_dir, options, resume=state == "resume")
        done[step.name] = {"mark": mark, "run": step.name, "kind": step.recipe.kind}
        if processes.is_main:
            (run_dir.path / "step.json").write_text(json.dumps({"mark": mark}), encoding="utf-8")
            _write_facts(folder, pipeline, name, done, finished=number == len(steps))
    return folder.path


def _run_step(step: Step, run_dir: RunDir, options: RunOptions, *, resume: bool) -> None:
    recipe = shrink(step.recipe) if options.smoke else step.recipe
    inner = dataclasses.replace(options, runs_dir=run_dir.path.parent, resume=resume, overwrite=not resume)
    run_training(recipe.replace(name=run_dir.path.name), inner)


def _state(run_dir: RunDir, mark: str, options: RunOptions) -> str:
    """`new`, `resume` or `done`."""
    if options.overwrite or not run_dir.facts_file.is_file():
        return "new"
    marked = run_dir.path / "step.json"
    complete = run_dir.facts().get("status") == "complete"
    if complete and marked.is_file() and json.loads(marked.read_text(encoding="utf-8"))["mark"] == mark:
        return "done"
    if complete:
        fault = "this finished step was run with another recipe, or on other earlier steps"
        raise RecipeError(Problem(str(run_dir.path), fault, "run it anew with --overwrite, or under another name"))
    return "resume" if newest_valid(run_dir.checkpoints)[0] else "new"


def _mark(step: Step, done: dict[str, dict[str, Any]], options: RunOptions) -> str:
    """Changes with the step's recipe and with everything it builds on."""
    parts = [step.recipe.values, options.smoke, [done[name]["mark"] for name in step.uses]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _write_facts(
    folder: RunDir, pipeline: Recipe, name: str, done: dict[str, dict[str, Any]], *, finished: bool
) -> None:
    facts = {
        "name": name,
        "kind": "pipeline",
        "status": "complete" if finished else "running",
        "recipe": pipeline.values,
        "steps": [{"name": step, "kind": facts["kind"], "run": facts["run"]} for step, facts in done.items()],
        "finished": now(),
    }
    folder.write_facts(facts)
