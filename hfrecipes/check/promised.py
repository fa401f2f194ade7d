"""Paths that do not exist yet because an earlier step of a pipeline makes them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def is_promised(path: str, promised: Iterable[Path]) -> bool:
    """Whether a path lies in a run directory that an earlier step fills, and is not there yet."""
    return not Path(path).exists() and any(Path(path).is_relative_to(folder) for folder in promised)
