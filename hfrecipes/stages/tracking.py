"""One run in an external tracker for one run here, over as many sessions as it takes.

The ids lie in `trackers.json` in the run directory, so they live and go with it: a run that is replaced is a new one in the
trackers, too. No token is kept: the trackers have their own from the environment or their own store.
"""

from __future__ import annotations

import contextlib
import json
import random
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hfrecipes.callbacks.folders import step_of
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir, write_atomically
from hfrecipes.recipe.secrets import redact
from hfrecipes.stages.trackers import STARTERS, OpenRun, Place

TRACKERS_FILE = "trackers.json"
# What transformers' callbacks for these can only begin. The others that are not in STARTERS (azure_ml, flyte, kubeflow)
# have no runs of their own: they report to the job that they are in.
_CANNOT_GO_ON = ("clearml", "codecarbon", "dvclive", "neptune")


@contextlib.contextmanager
def tracked(trainer: Any, run: RunDir, checkpoint: Path | None) -> Iterator[None]:
    """Opens the trackers' runs around a training, and ends them after it; those kept in the run directory are gone on with.

    On every process but the main one this does nothing, as transformers' callbacks do.

    Args:
        trainer: The trainer that trains inside.
        run: Its run directory, ready to be written.
        checkpoint: What the training goes on from; None where it begins.

    Raises:
        RecipeError: where a tracker cannot be started, or `trackers.json` is damaged.
    """
    if not trainer.is_world_process_zero() or not _continued(trainer.args.report_to):
        yield
        return
    place = Place(trainer, trainer.args.run_name, run.path, step_of(checkpoint))
    ids = _read_ids(run)
    with contextlib.ExitStack() as stack:
        for tracker in _continued(trainer.args.report_to):
            opened = _start(tracker, place, ids.get(tracker))
            if opened is not None:
                stack.push(_ending(tracker, opened))
                ids[tracker] = opened.id
                write_atomically(run.path / TRACKERS_FILE, json.dumps(ids, indent=2) + "\n")
        yield


def restarted_trackers(reporters: Sequence[str], run: RunDir) -> list[str]:
    """Warnings for a run that is resumed: the trackers in which it begins anew nevertheless.

    Args:
        reporters: The training arguments' `report_to`.
        run: The run directory as the session before left it.
    """
    ids = _read_ids(run) if _continued(reporters) else {}
    unable = [tracker for tracker in reporters if tracker in _CANNOT_GO_ON]
    unknown = [tracker for tracker in _continued(reporters) if tracker not in ids]
    return [f"{tracker} cannot go on with a run: it begins a new one" for tracker in unable] + [
        f"{tracker} begins a new run, unless its environment names one: {TRACKERS_FILE} has none" for tracker in unknown
    ]


def _continued(reporters: Sequence[str]) -> list[str]:
    return [tracker for tracker in reporters if tracker in STARTERS]


def _start(tracker: str, place: Place, kept: str | None) -> OpenRun | None:
    try:
        with _own_randomness():
            return STARTERS[tracker](place, kept)
    except Exception as error:
        reason = " ".join(str(error).split())[:400]
        doing = f"go on with its run {kept}" if kept else "be started"
        fault = f"{tracker} cannot {doing}: {type(error).__name__}: {reason}"
        fix = "mend its settings or its login, or take it out of report_to"
        if kept:
            fix = f"{fix}; where that run is gone, remove it from {place.folder / TRACKERS_FILE}"
        raise RecipeError(Problem("training.report_to", fault, fix)) from error


def _ending(tracker: str, opened: OpenRun) -> Any:
    """An exit function that ends a tracker's run; a tracker that fails at its end must not take the training with it."""

    def end(kind: type[BaseException] | None, *_: Any) -> None:
        try:
            with _own_randomness():
                opened.end(kind is None)
        except Exception as error:
            told = redact(f"{tracker} could not end its run: {type(error).__name__}: {error}")
            warnings.warn(told, stacklevel=2)

    return end


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """Trackers name files by `random`, which a training seeds: every session of Comet would write the same archive.

    Nor do their draws change what the training draws.
    """
    state = random.getstate()
    random.seed()
    try:
        yield
    finally:
        random.setstate(state)


def _read_ids(run: RunDir) -> dict[str, str]:
    file = run.path / TRACKERS_FILE
    try:
        ids = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        ids = None
    if isinstance(ids, dict) and all(isinstance(value, str) for value in ids.values()):
        return ids
    raise RecipeError(Problem(str(file), "does not hold the runs of trackers", "remove it: they then begin new ones"))
