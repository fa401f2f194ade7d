"""Folders in the cache, such as prepared rows: each appears whole or not at all, and is made anew where it is damaged."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from hfrecipes.recipe.manifest import faults_of, write_manifest
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import sync_folder

_ROWS_PER_BATCH = 1000
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def make_cache_folder(folder: Path) -> Path:
    """Makes a folder in the cache, if absent.

    Raises:
        RecipeError: it cannot be made.
    """
    with _refusing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_once(folder: Path, make: Callable[[Path], None]) -> list[str]:
    """Lets `make` fill a folder, unless it is there already and whole. Processes that arrive meanwhile wait for the first.

    Whole is what its manifest says, hashes included and each time: one flipped bit of a token is seen by nothing that comes
    later, and reading the rows once, at the speed of SHA-256, is little beside training on them; it also warms the cache of
    the disk for the training. The files of the sources are hashed at each start as well.

    Args:
        folder: What to make. It is renamed into place when `make` is done and its manifest is written, so a kill leaves
            nothing that looks whole.
        make: Fills the empty folder that it is given.

    Returns:
        What was wrong with the folder that was there and has been made anew; empty where nothing was.

    Raises:
        RecipeError: the cache cannot be written, or has no room. Nothing half-made is left.
    """
    if folder.is_dir() and not _faults(folder):
        return []
    make_cache_folder(folder.parent)
    with _refusing(folder.parent), FileLock(f"{folder}.lock"):
        faults = _faults(folder) if folder.is_dir() else []
        if folder.is_dir():
            if not faults:
                return []
            shutil.rmtree(folder)
        _make(folder, make)
    return faults


def _faults(folder: Path) -> list[str]:
    # `datasets` keeps what it computes from the rows beside them, in files that the manifest cannot name.
    return faults_of(folder, others=False)


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    for left_over in folder.parent.glob(f".{folder.name}.*.part"):  # by a kill: whoever makes it now holds the lock
        shutil.rmtree(left_over, ignore_errors=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        draft.mkdir()
        make(draft)
        write_manifest(draft)
        draft.rename(folder)
        sync_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _refusing(folder: Path) -> Iterator[None]:
    """Says what keeps the cache from being written, and the mend. Faults of the data are said by those who read it."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            message = "there is no room left to write into this folder of the cache"
            fix = "free some space, or set HFRECIPES_CACHE to a folder on a disk that has some"
        else:
            message = f"this folder of the cache cannot be written: {error.strerror or error}"
            fix = "set HFRECIPES_CACHE to a folder that can be written"
        raise RecipeError(Problem(str(folder), message, fix)) from error


def write_rows(path: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows as an Arrow stream, which `load_rows` maps into memory.

    Args:
        path: The file.
        rows: Column -> numbers of a row (int32 lists), or one number where the column is `num_bytes`, `margin` or `label`, or one
            string where it is `given`.
        columns: Those to write.
    """
    import pyarrow as pa

    single = {"num_bytes": pa.int64(), "margin": pa.float64(), "label": pa.int8(), "given": pa.large_string()}
    types = {column: single.get(column, pa.list_(pa.int32())) for column in columns}
    schema = pa.schema(types)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        buffer: list[dict[str, Any]] = []
        for row in rows:
            buffer.append(row)
            if len(buffer) == _ROWS_PER_BATCH:
                writer.write_batch(_batch(buffer, schema))
                buffer = []
        if buffer:
            writer.write_batch(_batch(buffer, schema))


def load_rows(path: Path) -> Any:
    """The rows of a file as a memory-mapped `datasets.Dataset`."""
    from datasets import Dataset

    return Dataset.from_file(str(path))


def _batch(rows: list[dict[str, Any]], schema: Any) -> Any:
    import pyarrow as pa

    arrays = []
    for field in schema:
        cells = [row[field.name] for row in rows]
        if not pa.types.is_list(field.type):
            arrays.append(pa.array(cells, type=field.type))
            continue
        offsets = np.cumsum([0, *map(len, cells)], dtype=np.int32)
        flat = np.concatenate([np.asarray(cell, dtype=np.int32) for cell in cells])
        arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)))
    return pa.record_batch(arrays, schema=schema)
