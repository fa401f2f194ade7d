"""Checkpoints on disk: which can be resumed, which is the newest, which may go. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfrecipes.callbacks.contents import ACCUMULATORS, TRAINER_STATE, content_faults
from hfrecipes.recipe.manifest import MANIFEST, faults_of

_FOLDER = re.compile(r"checkpoint-(\d+)$")
# What has to be there for each part of the state, as patterns: of one process, DDP, FSDP (sharded and full), DeepSpeed.
_PARTS = {
    "the weights": (
        "model.safetensors",
        "model.safetensors.index.json",
        "adapter_model.safetensors",
        "*/adapter_model.safetensors",
        "bottleneck.safetensors",
        "pytorch_model_fsdp.bin",
        "pytorch_model_fsdp_*/*.distcp",
        "global_step*/*model_states.pt",
        "global_step*/*optim_states.pt",
    ),
    "the optimizer's state": ("optimizer.pt", "optimizer.bin", "optimizer_*/*.distcp", "global_step*/*optim_states.pt"),
    # DeepSpeed keeps a schedule of its own with the model.
    "the schedule's state": ("scheduler.pt", "global_step*/*model_states.pt"),
    "the random generators' state": ("rng_state*.pth",),
    "the trainer's state": (TRAINER_STATE,),
    "the sums behind the next log": (ACCUMULATORS,),
}
# What the stock Trainer and peft would read weights from, too. Our saves write none.
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin", "*/adapter_model.bin")


def missing_state(folder: Path) -> list[str]:
    """Parts without which a resumed run would go on as another run: fresh moments, a schedule that jumps."""
    return [part for part, patterns in _PARTS.items() if not any(any(folder.glob(pattern)) for pattern in patterns)]


def unfit(folder: Path) -> list[str]:
    """Why a checkpoint cannot be resumed; empty for one that can."""
    if folder.is_symlink():
        return ["it is a link"]
    if faults := faults_of(folder):
        return faults
    if missing := missing_state(folder):
        return [f"it lacks {part}" for part in missing]
    return pickled_weights(folder) or content_faults(folder, step_of(folder))


def pickled_weights(folder: Path) -> list[str]:
    """Faults of a folder from which weights could come out of a pickle."""
    found = sorted(path.relative_to(folder).as_posix() for pattern in _PICKLED for path in folder.glob(pattern))
    return [f"{name} holds pickled weights, which are not read" for name in found]


def newest_valid(
    checkpoints: Path, others: Callable[[Path], list[str]] = lambda folder: []
) -> tuple[Path | None, dict[str, list[str]]]:
    """The newest checkpoint that can be resumed, and why newer ones were passed over, by name.

    Args:
        checkpoints: The folder that holds them.
        others: Further faults of one that is whole.
    """
    skipped: dict[str, list[str]] = {}
    for folder in reversed(list_checkpoints(checkpoints)):
        faults = unfit(folder) or others(folder)
        if not faults:
            return folder, skipped
        skipped[folder.name] = faults
    return None, skipped


def last_finished(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written to its end; its contents are not read."""
    finished = finished_checkpoints(checkpoints)
    return finished[-1] if finished else None


def finished_checkpoints(checkpoints: Path) -> list[Path]:
    """Checkpoints that were written to their end, the oldest first; their contents are not read."""
    return [path for path in list_checkpoints(checkpoints) if (path / MANIFEST).is_file()]


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Checkpoint folders by step, the oldest first."""
    found = [path for path in checkpoints.glob("checkpoint-*") if path.is_dir() and _FOLDER.search(path.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path | None) -> int:
    """The step after which a checkpoint was written; 0 for none."""
    return int(_FOLDER.search(checkpoint.name)[1]) if checkpoint else 0


def read_state(checkpoint: Path) -> dict[str, Any]:
    """The contents of its `trainer_state.json`."""
    return json.loads((checkpoint / TRAINER_STATE).read_text(encoding="utf-8"))


def rotate(checkpoints: Path, keep: int, best: str | None) -> None:
    """Removes all but the newest `keep` finished checkpoints and the best one; unfinished older ones go too."""
    finished = finished_checkpoints(checkpoints)
    kept = {path.name for path in finished[-max(keep, 1) :]} | ({Path(best).name} if best else set())
    for path in list_checkpoints(checkpoints):
        if path.name not in kept:
            remove_checkpoint(path)


def remove_checkpoint(folder: Path) -> None:
    """Removes a checkpoint, its manifest first: cut short, what is left is no checkpoint any more."""
    if folder.is_symlink():
        folder.unlink()
        return
    with contextlib.suppress(OSError):
        (folder / MANIFEST).unlink()
    shutil.rmtree(folder, ignore_errors=True)
