"""One array out of the sketches of all parts: in memory where it is a number for each text, else as a file that is mapped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def read_column(sketches: Sequence[Path], name: str) -> np.ndarray:
    """The arrays of that name, one after the other, in memory.

    Args:
        sketches: The `.npz` files, at least one, in their order.
        name: Of an array that all of them hold.

    Returns:
        What `np.concatenate` makes of them.
    """
    return np.concatenate([read_one(sketch, name) for sketch in sketches])


def map_column(sketches: Sequence[Path], name: str, folder: Path) -> np.ndarray:
    """The arrays of that name, one after the other, in a file of the folder; one part's is in memory at a time.

    Args:
        sketches: The `.npz` files, at least one, in their order.
        name: Of an array that all of them hold, of equal shape but for the first axis.
        folder: Where there is room for all of it.

    Returns:
        The file, mapped into memory. Remove the folder when done.
    """
    rows, dtypes, shape = 0, [], ()
    for sketch in sketches:
        array = read_one(sketch, name)
        rows, shape = rows + len(array), array.shape[1:]
        dtypes.append(array.dtype)
    if rows == 0:
        return np.zeros((0, *shape), dtype=dtypes[0])
    whole = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.result_type(*dtypes), (rows, *shape))
    done = 0
    for sketch in sketches:
        array = read_one(sketch, name)
        whole[done : done + len(array)] = array
        done += len(array)
    return whole


def read_one(sketch: Path, name: str) -> np.ndarray:
    """One array of one file; the others are not read."""
    with np.load(sketch, allow_pickle=False) as file:
        return file[name]
