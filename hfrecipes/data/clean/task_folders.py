"""Where the tasks of a cleaning leave what they made, and how it is told whether they did.

    pass-0/00000/       the examples as they were read
    pass-1/00000/       what the rules of the first pass left; counts in the manifest
    decisions-1/        what the corpus rule at the end of the first pass decided
    closed-1.json       every task of the pass is done; its sums. What only it needed is gone
    and so on for every pass

A task's folder has its name only when it is whole and synced, so tasks may run in any order, on any number of machines that share
a disk, be killed, and be run again.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfrecipes.recipe.manifest import faults_of, write_manifest
from hfrecipes.recipe.rundir import write_atomically


class TaskFolders:
    """The folders of one cleaning, by number of pass and part.

    Args:
        root: The folder that holds them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def task(self, number: int, part: int) -> Path:
        return self.root / f"pass-{number}" / f"{part:05d}"

    def decisions(self, number: int) -> Path:
        return self.root / f"decisions-{number}"

    def count_done(self, number: int) -> int:
        """How many tasks of a pass are done."""
        return sum(1 for _ in (self.root / f"pass-{number}").glob("[0-9]*"))

    def is_closed(self, number: int) -> bool:
        return self._closed(number).is_file()

    def read_closed(self, number: int) -> dict[str, Any]:
        """What was said when a pass ended."""
        return json.loads(self._closed(number).read_text(encoding="utf-8"))

    def write_closed(self, number: int, facts: dict[str, Any]) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        write_atomically(self._closed(number), json.dumps(facts) + "\n")

    def remove_spent(self, number: int) -> None:
        """Removes what only a pass that has ended needed: what the one before it made."""
        for spent in (self.root / f"pass-{number - 1}", self.decisions(number - 1)):
            shutil.rmtree(spent, ignore_errors=True)

    def _closed(self, number: int) -> Path:
        return self.root / f"closed-{number}.json"


def is_whole(folder: Path) -> bool:
    """Whether a task's folder holds what was written into it; a damaged one is removed."""
    if not folder.is_dir():
        return False
    if faults_of(folder):
        shutil.rmtree(folder)
        return False
    return True


def write_once(folder: Path, write: Callable[[Path], None], **facts: Any) -> None:
    """Fills a folder beside, syncs it with its manifest, and gives it its name; where another was faster, theirs is as good.

    Args:
        folder: A task's.
        write: Fills the empty folder that it is given.
        facts: What the manifest says beside the files.

    Raises:
        OSError: it cannot be written; nothing of that name is left.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    try:
        draft.mkdir()
        write(draft)
        write_manifest(draft, **facts)
        try:
            draft.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
