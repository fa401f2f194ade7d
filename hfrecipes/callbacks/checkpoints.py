"""A checkpoint exists when its manifest does: sizes and hashes of all its files, written last.

The manifest is written in `on_save`, after every process has written its files; a kill at any instant before leaves a folder
without one, which no resume takes. Rotation is ours and runs after it, so the last valid checkpoint is never removed.
(Writing to another folder and renaming was tried: the Trainer's `best_model_checkpoint` then names a folder that is gone.)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hfrecipes.recipe.rundir import write_atomically

MANIFEST = "manifest.json"
_FOLDER = re.compile(r"checkpoint-(\d+)$")


class CheckpointCallback(TrainerCallback):
    """Completes each checkpoint with its manifest, then removes old ones.

    Args:
        keep: Checkpoints to keep (`save_total_limit`), the best one apart; None keeps all.
    """

    def __init__(self, keep: int | None) -> None:
        self.keep = keep

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if dist.is_available() and dist.is_initialized():
            dist.barrier()
        if not args.should_save:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_manifest(folder)
        if self.keep is not None:
            rotate(Path(args.output_dir), self.keep, state.best_model_checkpoint)


def write_manifest(folder: Path) -> None:
    """Syncs the files of a checkpoint to disk, then writes their sizes and SHA-256 hashes."""
    files = {}
    for path in _files(folder):
        with path.open("rb") as file:
            files[path.relative_to(folder).as_posix()] = {
                "size": path.stat().st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
            os.fsync(file.fileno())
    write_atomically(folder / MANIFEST, json.dumps({"files": files}, indent=1) + "\n")


def faults_of(folder: Path) -> list[str]:
    """Why a checkpoint cannot be used; empty for a whole one."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        return ["it was not finished: no manifest"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return ["its manifest is damaged"]
    return [fault for name, facts in files.items() if (fault := _fault(folder / name, facts))]


def newest_valid(checkpoints: Path) -> tuple[Path | None, dict[str, list[str]]]:
    """The newest whole checkpoint, and why newer ones were passed over, by name."""
    skipped: dict[str, list[str]] = {}
    for folder in reversed(list_checkpoints(checkpoints)):
        faults = faults_of(folder)
        if not faults:
            return folder, skipped
        skipped[folder.name] = faults
    return None, skipped


def list_checkpoints(checkpoints: Path) -> list[Path]:
    """Checkpoint folders by step, the oldest first."""
    found = [path for path in checkpoints.glob("checkpoint-*") if path.is_dir() and _FOLDER.search(path.name)]
    return sorted(found, key=lambda path: int(_FOLDER.search(path.name)[1]))


def rotate(checkpoints: Path, keep: int, best: str | None) -> None:
    """Removes all but the newest `keep` finished checkpoints and the best one; unfinished older ones go too."""
    finished = [path for path in list_checkpoints(checkpoints) if (path / MANIFEST).is_file()]
    kept = {*finished[-keep:], *([Path(best)] if best else [])}
    newest = finished[-1]
    for path in list_checkpoints(checkpoints):
        if path not in kept and path != newest:
            # Without its manifest it is no checkpoint any more, should the removal be cut short.
            (path / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(path, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST)


def _fault(path: Path, facts: dict[str, Any]) -> str | None:
    if not path.is_file():
        return f"{path.name} is missing"
    if path.stat().st_size != facts["size"]:
        return f"{path.name} has {path.stat().st_size} bytes, not {facts['size']}"
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != facts["sha256"]:
            return f"{path.name} is damaged (its hash differs)"
    return None
