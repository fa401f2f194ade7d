"""Checkpoints on disk: which are whole, which is the newest, which may go. Imports no torch.

A checkpoint exists when its manifest does: sizes and hashes of all its files, written last. A kill at any instant before leaves
a folder without one, which no resume takes.
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

from hfrecipes.recipe.rundir import write_atomically

MANIFEST = "manifest.json"
_FOLDER = re.compile(r"checkpoint-(\d+)$")


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
