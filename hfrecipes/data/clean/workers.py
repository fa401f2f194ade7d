"""Tasks in as many processes as were asked for: rules are sent to each process once, and models loaded in it once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from types import TracebackType

from hfrecipes.data.clean.work import Work
from hfrecipes.recipe.problem import Problem, RecipeError

# The work of this process, where it is one of several.
_work: Work | None = None


class Workers:
    """Runs tasks, in this process where there is to be one only.

    Args:
        work: What is to be done.
        count: Processes.
    """

    def __init__(self, work: Work, count: int) -> None:
        self._work, self._count = work, count
        self._pool: ProcessPoolExecutor | None = None
        self._others: set[int | None] = set()

    def __enter__(self) -> Workers:
        if self._count > 1:
            # Spawned ones share nothing with this process: no threads, no locks, no half-read files.
            context = multiprocessing.get_context("spawn")
            self._others = {process.pid for process in multiprocessing.active_children()}
            self._pool = ProcessPoolExecutor(self._count, context, _begin, (self._work, self._count))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._pool is None:
            return
        if error is not None:
            # What they are at is done again by whoever goes on; a part of a slow rule can take minutes.
            for process in multiprocessing.active_children():
                if process.pid not in self._others:
                    process.terminate()
        self._pool.shutdown(cancel_futures=True)

    def run(self, number: int, parts: Sequence[int]) -> Iterator[int]:
        """Runs a pass's tasks, and says of each that is done how many documents it read.

        Raises:
            RecipeError: a task fails, or a worker was killed.
        """
        if self._pool is None:
            for part in parts:
                yield self._work.run_task(number, part)
            return
        futures = [self._pool.submit(_run, number, part) for part in parts]
        for future in as_completed(futures):
            yield _result(future)


def _result(future: Future[int | list[Problem]]) -> int:
    try:
        result = future.result()
    except BrokenProcessPool as error:
        message = "a worker was killed, most likely for want of memory"
        fix = "say the same with fewer --workers; it goes on where it stopped"
        raise RecipeError(Problem("--workers", message, fix)) from error
    if isinstance(result, list):
        raise RecipeError(result)
    return result


def _begin(work: Work, count: int) -> None:
    """Makes a new process ready: it leaves Ctrl-C to its parent, dies with it, and takes its share of the cores."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threads = max(1, (os.cpu_count() or 1) // count)
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):  # read when torch and tokenizers are first used
        os.environ.setdefault(name, str(threads))
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A parent that is killed outright cannot end its workers, which would wait for tasks for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _run(number: int, part: int) -> int | list[Problem]:
    assert _work is not None
    try:
        return _work.run_task(number, part)
    except RecipeError as error:  # as it is it would not survive the way back
        return error.problems
