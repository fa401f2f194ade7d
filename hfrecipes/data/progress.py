"""A bar for work that a person waits on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TypeVar

T = TypeVar("T")
_PATIENCE = 2.0  # seconds before a bar is worth its flicker


def track(items: Iterable[T], label: str) -> Iterator[T]:
    """Passes items on; after two seconds, on a terminal, shows how many there were."""
    if not sys.stderr.isatty():
        yield from items
        return
    began = time.monotonic()
    with ExitStack() as stack:
        bar = task = None
        for count, item in enumerate(items):
            if bar is None and time.monotonic() - began > _PATIENCE:
                from rich.console import Console
                from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

                columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed} rows"))
                bar = stack.enter_context(
                    Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
                )
                task = bar.add_task(label, total=None)
            if bar is not None and task is not None:
                bar.update(task, completed=count)
            yield item
