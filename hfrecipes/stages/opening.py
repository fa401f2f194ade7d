"""The run directory when a run starts: claimed by one process, then begun, or gone on with."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hfrecipes.callbacks.folders import list_checkpoints, newest_valid, remove_checkpoint, step_of
from hfrecipes.plan.disk import DEFAULT_SAVE_STEPS
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.manifest import MANIFEST, UNFINISHED, faults_of, read_manifest
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir, read_metrics, refuse_links, write_atomically
from hfrecipes.recipe.yaml_writer import dump_yaml
from hfrecipes.stages.changes import Changes, compare_recipes, refuse_idle_allowances
from hfrecipes.stages.fingerprints import (
    compare_fingerprints,
    faults_of_another_run,
    is_scheduled_anew,
    mixed_anew,
    other_conditions,
)
from hfrecipes.stages.occupied import refuse_misplaced, refuse_occupied
from hfrecipes.stages.pages import remove_drafts


@dataclass(frozen=True, slots=True)
class Start:
    """How a run starts.

    Args:
        checkpoint: What it goes on from; None where it begins.
        skipped: Newer checkpoints that cannot be used, and why, by name.
        earlier: The facts of the run that is gone on with; empty where it begins, or where they are lost.
        changes: What was changed in its recipe.
        complete: Whether this very recipe has been run to its end here.
        trained: Whether its model has been trained and saved, and only what comes after is missing.
    """

    checkpoint: Path | None = None
    skipped: dict[str, list[str]] = field(default_factory=dict)
    earlier: dict[str, Any] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    complete: bool = False
    trained: bool = False

    @property
    def step(self) -> int:
        """The step after which it goes on."""
        return step_of(self.checkpoint)


@contextlib.contextmanager
def claimed(run: RunDir) -> Iterator[None]:
    """Holds a run directory for this process; the claim ends with the process, however that ends.

    Raises:
        RecipeError: where another process is at work in it.
    """
    # Two links to one folder are one run.
    place = run.path.resolve()
    if not place.name:
        fix = "a run directory is a folder of its own"
        raise RecipeError(Problem(str(run.path), f"is a link to {place}, the root of the file system", fix))
    place.parent.mkdir(parents=True, exist_ok=True)
    file = place.with_name(f".{place.name}.lock")
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        fault = "another process is at work on this run"
        fix = f"wait for it, or stop it ({file} is held by it); another name= makes another run"
        raise RecipeError(Problem(str(run.path), fault, fix)) from None
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        lock.release()


def earlier_facts(run: RunDir) -> dict[str, Any]:
    """The facts of the sessions before; empty where there are none, or they are damaged.

    What lies in a checkpoint is enough to go on without them.
    """
    try:
        return run.facts()
    except RecipeError:
        return {}


def begin(run: RunDir, overwrite: bool) -> Start:
    """The start of a run that is not resumed.

    Raises:
        RecipeError: where the folder holds something that was not said to be replaced.
    """
    refuse_links(run)
    refuse_occupied(run, overwrite)
    return Start()


def go_on(run: RunDir, recipe: Recipe, allowed: Sequence[str]) -> Start:
    """Where a run that is resumed goes on; it begins where it has no checkpoint yet.

    Args:
        run: The run directory.
        recipe: Resolved.
        allowed: Keys of the recipe that were changed on purpose.

    Raises:
        RecipeError: where the recipe has changed, where there are checkpoints and none can be used, and where the folder
            holds no run of this kind.
    """
    refuse_links(run)
    refuse_misplaced(run)
    if not list_checkpoints(run.checkpoints):
        refuse_occupied(run, overwrite=True)
    earlier, changes = earlier_facts(run), Changes(known=False)
    if earlier.get("recipe"):
        changes = compare_recipes(earlier["recipe"], recipe, allowed, run.path)
        refuse_idle_allowances(allowed, changes, earlier, run.path)
    complete = earlier.get("status") == "complete"
    # The facts of a training are written when its model has been saved.
    trained = bool(earlier.get("training")) and not changes.accepted and not faults_of(run.model, others=False)
    if trained and complete:
        return Start(earlier=earlier, changes=changes, complete=True, trained=True)
    checkpoint, skipped = newest_valid(
        run.checkpoints,
        lambda folder: faults_of_another_run((read_manifest(folder) or {}).get("fingerprint", {}), earlier),
    )
    if trained:
        return Start(checkpoint, earlier=earlier, changes=changes, trained=True)
    if checkpoint is None:
        _refuse_lost(run, recipe, skipped, complete)
        return Start(skipped=skipped)
    return Start(checkpoint, skipped, earlier, changes)


def _refuse_lost(run: RunDir, recipe: Recipe, skipped: dict[str, list[str]], complete: bool) -> None:
    """What was trained, and cannot be gone on with, is not begun anew unasked; half a first save is nothing yet."""
    fix = "begin anew with --overwrite, or put a whole copy of one back"
    if len(skipped) > 1 or any(not faults[0].startswith(UNFINISHED) for faults in skipped.values()):
        faults = [f"cannot be resumed: {name}: {'; '.join(faults)}" for name, faults in skipped.items()]
        raise RecipeError([Problem(str(run.checkpoints), fault, fix) for fault in faults])
    if complete:
        fault = "is complete, and has no checkpoint left to go on from"
        raise RecipeError(Problem(str(run.path), fault, "begin anew with --overwrite, or under another name"))
    if not skipped and (steps := _steps_past_a_save(run, recipe)):
        fault = f"holds no checkpoint, and {run.metrics_file.name} shows {steps} steps"
        raise RecipeError(Problem(str(run.checkpoints), fault, fix))


def _steps_past_a_save(run: RunDir, recipe: Recipe) -> int:
    """The last logged step, where one must have been saved before it; else 0."""
    lines = read_metrics(run.metrics_file)
    last = max((line["step"] for line in lines), default=0)
    every, strategy = (
        recipe.get("training.save_steps", DEFAULT_SAVE_STEPS),
        recipe.get("training.save_strategy", "steps"),
    )
    if strategy == "epoch":
        return last if any((line.get("epoch") or 0) > 1 for line in lines) else 0
    return last if strategy == "steps" and every >= 1 and last > every else 0


def agree(
    start: Start, today: dict[str, Any], steps: int | None, world_size: int, allowed: Sequence[str]
) -> tuple[bool, list[str], list[str]]:
    """Compares a run with the checkpoint it goes on from.

    Args:
        start: From `go_on`.
        today: Fingerprint of the run as it is resumed.
        steps: Of the whole run; None where they are not known.
        world_size: Processes of today.
        allowed: Keys that were changed on purpose.

    Returns:
        Whether the schedule is another than the checkpoint's; what was changed on purpose; what may make the rest of the run
        differ in its last bits.

    Raises:
        RecipeError: naming what differs and was not allowed to, or makes no difference any more.
    """
    checkpoint = start.checkpoint
    if checkpoint is None:
        return False, [], []
    manifest = read_manifest(checkpoint) or {}
    of_checkpoint = manifest.get("fingerprint", {})
    # What a session was begun with has been agreed to; it may have been cut off before it could save.
    before = start.earlier.get("fingerprint") or of_checkpoint
    accepted = compare_fingerprints(before, today, start.changes, allowed, checkpoint)
    changed = [*start.changes.accepted, *accepted]
    if steps is not None and start.step > steps and not changed:
        fault = f"{checkpoint.name} is beyond the last of {steps} steps, so it is of another run"
        raise RecipeError(Problem(str(checkpoint), fault, "remove this folder: --resume takes an older one"))
    if changed and steps is not None and start.step >= steps:
        fault = f"nothing is left to train with the change: {checkpoint.name} is at the last of {steps} steps"
        fix = "raise training.max_steps or training.num_train_epochs"
        raise RecipeError(Problem(str(checkpoint.parent.parent), fault, fix))
    conditions = [*mixed_anew(of_checkpoint, today), *other_conditions(start.earlier, manifest, world_size)]
    return is_scheduled_anew(of_checkpoint, today), changed, conditions


def open_run(run: RunDir, recipe: Recipe, facts: dict[str, Any], start: Start) -> None:
    """Makes the run directory ready to be written: emptied where the run begins, freed of what comes after the checkpoint.

    Args:
        run: The run directory.
        recipe: Resolved.
        facts: What is known at the start.
        start: From `begin` or `go_on`.
    """
    if start.checkpoint is None:
        _set_aside(run)
    run.path.mkdir(parents=True, exist_ok=True)
    # First of all: a folder with files and no facts is taken for somebody else's.
    run.write_facts(facts)
    run.checkpoints.mkdir(exist_ok=True)
    _clear(run, start.checkpoint)
    text = dump_yaml(recipe.values)
    write_atomically(run.recipe, f"# As it was run; hfrecipes run recipe.yaml runs it again.\n{text}")


def _clear(run: RunDir, checkpoint: Path | None) -> None:
    """Removes what a kill left half done: drafts, half-removed checkpoints, and those that come after the chosen one.

    The latter cannot be used, and what is saved in their place must not mix with their files.
    """
    for folder in list_checkpoints(run.checkpoints):
        if step_of(folder) > step_of(checkpoint) or not (folder / MANIFEST).is_file():
            remove_checkpoint(folder)
    remove_drafts(run)


def _set_aside(run: RunDir) -> None:
    """Removes an earlier run in one step as seen from outside; cut short, only hidden folders are left, and go next time."""
    # The run directory may be a link to another disk, which stays.
    place = run.path.resolve()
    if place.exists():
        place.rename(place.with_name(f".{place.name}.{os.getpid()}.old"))
        if run.path.is_symlink():
            place.mkdir()
    for old in place.parent.glob(f".{glob.escape(place.name)}.*.old"):
        shutil.rmtree(old, ignore_errors=True)
