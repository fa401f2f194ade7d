"""How each tracker's run is begun, gone on with and ended, through the tracker's own interface.

transformers' callbacks write into a run that is already open, so the run is opened here, with an id of its own, before they
ask. Nothing in the environment is changed: what the user has set there is read as the trackers themselves read it, and wins.
A run that the caller has opened already (in a notebook, say) is the caller's: it is used, and neither kept nor ended.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from transformers.integrations import TensorBoardCallback

# SwanLab's ids have at most 21 characters, Comet's between 32 and 50.
_SHORT_ID = 21


@dataclass(frozen=True, slots=True)
class Place:
    """What a tracker is told of a run.

    Attributes:
        trainer: The trainer, with transformers' callbacks in place.
        name: The run's name.
        folder: The run directory.
        step: Step that the training goes on from; 0 where it begins.
    """

    trainer: Any
    name: str
    folder: Path
    step: int


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A tracker's run that is being written.

    Attributes:
        id: What it is gone on with.
        end: Ends it; told whether the training went well.
    """

    id: str
    end: Callable[[bool], object]


# Each takes the place and the id kept from an earlier session, or None; it gives None where the run is the caller's.
Starter = Callable[[Place, str | None], OpenRun | None]


def start_wandb(place: Place, kept: str | None) -> OpenRun | None:
    import wandb

    if wandb.run is not None:
        return None
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "huggingface"),
        name=place.name,
        id=os.environ.get("WANDB_RUN_ID") or kept or uuid4().hex,
        resume=os.environ.get("WANDB_RESUME") or "allow",
    )
    return OpenRun(run.id, lambda well: run.finish(exit_code=0 if well else 1))


def start_swanlab(place: Place, kept: str | None) -> OpenRun | None:
    import swanlab

    if _swanlab_is_open(swanlab):
        return None
    identity = os.environ.get("SWANLAB_RUN_ID") or kept or uuid4().hex[:_SHORT_ID]
    swanlab.init(
        project=os.environ.get("SWANLAB_PROJECT"),
        experiment_name=place.name,
        id=identity,
        resume=os.environ.get("SWANLAB_RESUME") or "allow",
    )
    crashed = {"state": "crashed", "error": "the training was cut off"}
    return OpenRun(identity, lambda well: swanlab.finish(**({} if well else crashed)))


def _swanlab_is_open(swanlab: Any) -> bool:
    # 0.7 gives None where there is none, 0.10 raises: transformers' callback fails there unless a run is open already.
    with contextlib.suppress(RuntimeError):
        return swanlab.get_run() is not None
    return False


def start_mlflow(place: Place, kept: str | None) -> OpenRun | None:
    import mlflow

    if mlflow.active_run() is not None:
        return None
    # The server gives the id; MLflow takes that of the environment where none is given, and forgets it there.
    run = mlflow.start_run(run_id=None if os.environ.get("MLFLOW_RUN_ID") else kept, run_name=place.name)
    return OpenRun(run.info.run_id, lambda well: mlflow.end_run("FINISHED" if well else "FAILED"))


def start_comet(place: Place, kept: str | None) -> OpenRun | None:
    import comet_ml

    running = comet_ml.get_running_experiment()
    asked = os.environ.get("COMET_MODE", "get_or_create").lower()
    if asked != "get_or_create" or (running is not None and not running.ended):
        return None
    experiment = comet_ml.start(
        experiment_key=os.environ.get("COMET_EXPERIMENT_KEY") or kept or uuid4().hex,
        experiment_config=comet_ml.ExperimentConfig(name=place.name),
    )
    return OpenRun(experiment.get_key(), lambda well: experiment.end())


def start_trackio(place: Place, kept: str | None) -> OpenRun:
    """Trackio goes on with the newest run of the same name, so a name of its own is what tells a new run from an old one."""
    import trackio

    args, name = place.trainer.args, place.trainer.args.run_name
    args.run_name = kept or f"{place.name}-{uuid4().hex[:6]}"

    def end(well: bool) -> None:
        args.run_name = name
        # transformers' callback has ended it, unless the training was cut off.
        with contextlib.suppress(RuntimeError):
            trackio.finish()

    return OpenRun(args.run_name, end)


def start_tensorboard(place: Place, kept: str | None) -> OpenRun | None:
    """One folder in the run directory; what an earlier session wrote of steps that are run again is no longer shown."""
    callback = next(c for c in place.trainer.callback_handler.callbacks if isinstance(c, TensorBoardCallback))
    if callback.logging_dir is not None or callback.tb_writer is not None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    folder = place.folder / "tensorboard"
    callback.logging_dir = str(folder)
    callback.tb_writer = SummaryWriter(str(folder), purge_step=place.step + 1 if place.step else None)

    def end(well: bool) -> None:
        callback.logging_dir = None
        if callback.tb_writer is not None:
            callback.tb_writer.close()
            callback.tb_writer = None

    return OpenRun(folder.name, end)


STARTERS: dict[str, Starter] = {
    "comet_ml": start_comet,
    "dagshub": start_mlflow,
    "mlflow": start_mlflow,
    "swanlab": start_swanlab,
    "tensorboard": start_tensorboard,
    "trackio": start_trackio,
    "wandb": start_wandb,
}
