"""How far a cleaning has come, on a terminal: the pass, documents a second, and how long it will take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfrecipes.data.clean.work import Work


class Bar:
    """A bar for each pass; without a terminal a line for each.

    Args:
        work: What is being done.
        shown: Whether it is shown at all.
    """

    def __init__(self, work: Work, shown: bool) -> None:
        self._work = work
        self._bar: Any = _progress() if shown and sys.stderr.isatty() else None
        self._lines = shown and self._bar is None
        self._task: Any = None

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def read(self, count: int) -> None:
        """So many more examples were read."""
        self._show("reading", None, count)

    def begin(self, number: int) -> None:
        """A pass begins."""
        if self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        names = [self._work.rules[position].name for position in self._work.passes[number - 1].judging]
        label = f"pass {number} of {len(self._work.passes)}: {_listed(names)}"
        total = self._work.documents_before(number)
        if self._lines:
            print(f"{label}: {total:,} documents", file=sys.stderr, flush=True)
        self._show(label, total, 0)

    def advance(self, count: int) -> None:
        """So many more documents have passed."""
        if self._bar is not None:
            self._bar.advance(self._task, count)

    def _show(self, label: str, total: int | None, count: int) -> None:
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task(label, total=total)
        self._bar.advance(self._task, count)


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{', '.join(names[:2])} and {len(names) - 2} more"
    return ", ".join(names) or "counting"


def _progress() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,} documents"),
        Rate(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
