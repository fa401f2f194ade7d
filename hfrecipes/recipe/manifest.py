"""Manifests: sizes and hashes of the files in a folder, written last, so that what is whole can be told from what is not.

A folder with a manifest exists; a kill, a full disk or a lost power line before the manifest leaves a folder that nobody takes
for whole. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from hfrecipes.recipe.rundir import sync_folder, write_atomically

MANIFEST = "manifest.json"
# The fault of a folder that was never completed.
UNFINISHED = "it was not finished"
# Hashing lets go of the interpreter's lock, and one core hashes slower than a disk of today writes.
_THREADS = min(8, os.cpu_count() or 1)


def write_manifest(folder: Path, **facts: Any) -> None:
    """Syncs all files of a folder to disk, then writes their sizes and SHA-256 hashes, and syncs that.

    Args:
        folder: What was written.
        facts: What else the manifest says, such as the step.
    """
    paths = list(_files(folder))
    with ThreadPoolExecutor(_THREADS) as pool:
        files = dict(zip((_name(path, folder) for path in paths), pool.map(_record, paths), strict=True))
    for path in {path.parent for path in paths}:
        sync_folder(path)
    write_atomically(folder / MANIFEST, json.dumps({**facts, "files": files}, indent=1) + "\n")
    sync_folder(folder.parent)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """A folder's manifest; None where it has none.

    Raises:
        ValueError: for one that is damaged.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise ValueError("its manifest is damaged") from error
    if not isinstance(manifest, dict) or not _well_formed(manifest.get("files")):
        raise ValueError("its manifest is damaged")
    return manifest


def faults_of(folder: Path, *, hashes: bool = True, others: bool = True) -> list[str]:
    """Why a folder is not what was written into it; empty where it is.

    Args:
        folder: The folder.
        hashes: Whether contents are read too; else only which files there are, and their sizes.
        others: Whether files that the manifest does not name are faults.
    """
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        return [str(error)]
    except OSError as error:
        return [f"its manifest cannot be read: {error.strerror}"]
    if manifest is None:
        return [f"{UNFINISHED}: no manifest"]
    files: dict[str, dict[str, Any]] = manifest["files"]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = pool.map(lambda name: _fault(folder, name, files[name], hashes), files)
    faults = [fault for fault in found if fault]
    if others:
        unnamed = sorted({_name(path, folder) for path in _files(folder)} - files.keys())
        faults += [f"{name} was not there when it was saved" for name in unnamed]
    return faults


def _well_formed(files: Any) -> bool:
    return isinstance(files, dict) and all(
        isinstance(facts, dict) and isinstance(facts.get("size"), int) and isinstance(facts.get("sha256"), str)
        for facts in files.values()
    )


def _files(folder: Path) -> Iterator[Path]:
    """The files to vouch for: all but the manifest and hidden ones (drafts, and what file browsers leave)."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path != folder / MANIFEST and not hidden and (path.is_file() or path.is_symlink()):
            yield path


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _record(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return {"size": file.tell(), "sha256": digest}


def _fault(folder: Path, name: str, facts: dict[str, Any], hashes: bool) -> str | None:
    path = folder / name
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return f"its manifest names {name}, which lies elsewhere"
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return f"{name} is a link that leads out of the folder"
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != facts["size"]:
            return f"{name} has {path.stat().st_size} bytes, not {facts['size']}"
        if not hashes:
            return None
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == facts["sha256"]
    except (OSError, ValueError, RuntimeError) as error:
        return f"{name} cannot be read: {error}"
    return None if same else f"{name} is damaged (its hash differs)"
