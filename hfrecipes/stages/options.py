"""How a recipe is run, apart from what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hfrecipes.stages.processes import Processes


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Where and how a recipe is run.

    Args:
        runs_dir: Folder in which the run directory is made.
        smoke: Run it made small; see `recipe/smoke.py`.
        resume: Go on from the newest valid checkpoint.
        overwrite: Replace an earlier run of that name.
        quiet: Say nothing but errors.
        allow_change: Keys of the recipe in which a resumed run may differ from what it began with.
    """

    runs_dir: Path = Path("runs")
    smoke: bool = False
    resume: bool = False
    overwrite: bool = False
    quiet: bool = False
    allow_change: tuple[str, ...] = ()


def make_console(options: RunOptions, processes: Processes) -> Console:
    """One voice: the main process speaks, on stderr, so that stdout stays for results."""
    return Console(stderr=True, quiet=options.quiet or not processes.is_main)
