"""What each held-out row cost a run's model, kept beside its facts, so that later runs can be compared with it row by row."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from hfrecipes.evaluation.language_modeling import RowLosses
from hfrecipes.recipe.rundir import RunDir, write_atomically

_COLUMNS = {"nll": np.float64, "num_tokens": np.int64, "num_bytes": np.int64}


def write_row_losses(run: RunDir, losses: Mapping[str, RowLosses]) -> None:
    """Writes `row-losses.jsonl`: a line for each held-out set, its `dataset` and a number of each column for each row."""
    if not losses:
        run.row_losses.unlink(missing_ok=True)
        return
    lines = [
        json.dumps({"dataset": name, **{column: getattr(rows, column).tolist() for column in _COLUMNS}})
        for name, rows in losses.items()
    ]
    write_atomically(run.row_losses, "\n".join(lines) + "\n")


def read_row_losses(run: RunDir) -> dict[str, RowLosses]:
    """What `write_row_losses` wrote, by held-out set.

    Runs of other releases have no such file, and one that somebody has changed says nothing: both are empty here, and what is
    compared is then compared without rows.
    """
    try:
        lines = [json.loads(line) for line in run.row_losses.read_text(encoding="utf-8").splitlines()]
        return {str(line["dataset"]): _rows(line) for line in lines}
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return {}


def _rows(line: dict[str, list[float]]) -> RowLosses:
    columns = {name: np.array(line[name], dtype=dtype) for name, dtype in _COLUMNS.items()}
    shapes = {column.shape for column in columns.values()}
    if len(shapes) != 1 or any(column.ndim != 1 for column in columns.values()):
        raise ValueError("columns of different lengths")
    if not np.isfinite(columns["nll"]).all():
        raise ValueError("a loss that is no number")
    return RowLosses(**columns)
