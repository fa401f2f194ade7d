"""Prepared rows on disk: Arrow files in a folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from hfrecipes.recipe.problem import Problem, RecipeError

_ROWS_PER_BATCH = 1000


def make_cache_folder(folder: Path) -> Path:
    """Makes a folder in the cache, if absent.

    Raises:
        RecipeError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the cache folder cannot be made: {error.strerror}"
        raise RecipeError(
            Problem(str(folder), message, "set HFRECIPES_CACHE to a folder that can be written")
        ) from error
    return folder


def make_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Lets `make` fill a folder, unless it is there already. Processes that arrive meanwhile wait for the first.

    Args:
        folder: What to make. It is renamed into place when `make` is done, so a kill leaves nothing that looks whole.
        make: Fills the empty folder that it is given.
    """
    make_cache_folder(folder.parent)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return
        draft = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
        draft.mkdir()
        try:
            make(draft)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def write_rows(path: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows as an Arrow stream, which `load_rows` maps into memory.

    Args:
        path: The file.
        rows: Column -> numbers of a row (int32 lists), or one number where the column is `num_bytes`.
        columns: Those to write.
    """
    import pyarrow as pa

    types = {column: pa.int64() if column == "num_bytes" else pa.list_(pa.int32()) for column in columns}
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
        if field.type == pa.int64():
            arrays.append(pa.array(cells, type=field.type))
            continue
        offsets = np.cumsum([0, *map(len, cells)], dtype=np.int32)
        flat = np.concatenate([np.asarray(cell, dtype=np.int32) for cell in cells])
        arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)))
    return pa.record_batch(arrays, schema=schema)
