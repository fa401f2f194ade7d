"""Steps in order, each a run of its own below one run directory; finished steps are not run again."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from dataclasses import dataclass, field

from rich.markup import escape

from hfrecipes.callbacks.folders import list_checkpoints
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.pipeline import Step
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir, now, refuse_links
from hfrecipes.recipe.smoke import shrink
from hfrecipes.recipe.stops import InterruptedRunError
from hfrecipes.stages.gates import refuse_shut_gate
from hfrecipes.stages.occupied import refuse_occupied
from hfrecipes.stages.opening import claimed, earlier_facts
from hfrecipes.stages.options import RunOptions, make_console
from hfrecipes.stages.pages import write_missing_pages
from hfrecipes.stages.processes import Processes
from hfrecipes.stages.training import run_training


def run_steps(whole: Recipe, kind: str, steps: list[Step], folder: RunDir, options: RunOptions) -> None:
    """Runs the steps that are not finished yet, in order.

    A step is finished when its run is complete and its recipe and the steps it builds on are those it ran with. A step that
    was cut off goes on from its last checkpoint.

    Args:
        whole: The recipe that the steps come from.
        kind: What the run directory is of, as its facts say: `pipeline` or `folds`.
        steps: In their order.
        folder: The run directory of the whole; each step's lies below it.
        options: Where and how.

    Raises:
        RecipeError: where the folder holds something else, or a finished step's recipe has changed since.
    """
    processes = Processes.here()
    with contextlib.ExitStack() as stack:
        if processes.is_main:
            stack.enter_context(claimed(folder))
            refuse_links(folder)
            refuse_occupied(folder, options.overwrite, of_steps=kind)
        progress = _Progress.read(folder, whole, kind, options.overwrite)
        try:
            _run_each(steps, progress, folder, options, processes)
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt | InterruptedRunError) else "failed"
            if processes.is_main:
                with contextlib.suppress(OSError):
                    progress.write(status, f"{type(error).__name__}: {error}")
            raise


def _run_each(
    steps: list[Step], progress: _Progress, folder: RunDir, options: RunOptions, processes: Processes
) -> None:
    console = make_console(options, processes)
    for number, step in enumerate(steps, 1):
        run_dir = RunDir(folder.path / step.name)
        mark = _mark(step, progress.marks, options)
        state = _state(run_dir, progress.begun.get(step.name), mark)
        state_now = "finished" if state == "done" else step.recipe.kind
        console.rule(escape(f"step {number} of {len(steps)}: {step.name} ({state_now})"))
        progress.marks[step.name] = mark
        if processes.is_main:
            # Before the step begins: finished and not marked, it would be taken for another recipe's.
            progress.write("running")
        if state != "done":
            _run_step(step, run_dir, options, resume=state == "resume")
        elif processes.is_main:
            with claimed(run_dir):
                write_missing_pages(run_dir)
        progress.done[step.name] = step.recipe.kind
        if step.gate and not options.smoke:
            refuse_shut_gate(step, steps[:number], folder)
            console.print(f"the gate of {step.name} is open: {', '.join(step.gate)}", highlight=False, markup=False)
    if processes.is_main:
        progress.write("complete")


def _run_step(step: Step, run_dir: RunDir, options: RunOptions, *, resume: bool) -> None:
    recipe = shrink(step.recipe) if options.smoke else step.recipe
    inner = dataclasses.replace(
        options,
        runs_dir=run_dir.path.parent,
        resume=resume,
        overwrite=not resume,
        # Steps after the one that is gone on with begin with the recipe as it is now.
        allow_change=options.allow_change if resume else (),
    )
    run_training(recipe.replace(name=run_dir.path.name), inner)


def _state(run_dir: RunDir, begun: str | None, mark: str) -> str:
    """`new`, `resume` or `done`.

    Args:
        run_dir: The step's.
        begun: The mark it began with; None where it has not begun, or is to be run anew.
        mark: Today's.
    """
    if begun is None or not run_dir.path.is_dir():
        return "new"
    facts = earlier_facts(run_dir)
    if facts.get("status") == "complete":
        if begun == mark:
            return "done"
        fault = "this finished step was run with another recipe, or on other earlier steps"
        raise RecipeError(Problem(str(run_dir.path), fault, "run it anew with --overwrite, or under another name"))
    # What changed in the step's own recipe is for the step's run to refuse; it names the keys.
    return "resume" if list_checkpoints(run_dir.checkpoints) or run_dir.answers.is_file() else "new"


def _mark(step: Step, marks: dict[str, str], options: RunOptions) -> str:
    """Changes with the step's recipe and with everything it builds on."""
    parts = [step.recipe.values, options.smoke, [marks[name] for name in step.uses]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass
class _Progress:
    """How far the whole has come, in its `run.json`.

    Args:
        folder: Its run directory.
        whole: Its recipe.
        kind: What it is.
        begun: The mark of each step that an earlier session began.
        marks: The mark of each step that this session has come to.
        done: Kind of each step that is finished.
    """

    folder: RunDir
    whole: Recipe
    kind: str
    begun: dict[str, str]
    marks: dict[str, str] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: RunDir, whole: Recipe, kind: str, anew: bool) -> _Progress:
        """Where an earlier session stopped; nowhere where all steps are to be run anew."""
        begun = {} if anew else earlier_facts(folder).get("marks", {})
        return cls(folder, whole, kind, begun)

    def write(self, status: str, error: str | None = None) -> None:
        facts = {
            "name": self.folder.path.name,
            "kind": self.kind,
            "status": status,
            "recipe": self.whole.values,
            "steps": [{"name": step, "kind": kind, "run": step} for step, kind in self.done.items()],
            # Of steps that this session has not come to, the marks they began with still count.
            "marks": {**self.begun, **self.marks},
            "finished": now(),
        }
        self.folder.write_facts(facts | ({"error": error} if error else {}))
