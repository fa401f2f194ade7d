"""A launcher as a child process: waited for with its workers, and signals passed on to those."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping

import psutil

from hfrecipes.callbacks.signals import StopRequest

# Looking for children reads the parent of every process of the machine.
_LOOK_SECONDS = 5.0


class LauncherProcess:
    """Runs a launcher, such as `accelerate launch`, to its end and its workers'.

    A signal goes to the workers, not to the launcher, which would kill what still saves after a time of its own. A launcher
    that got it, too, from a terminal or a scheduler, sends it once more, which the workers take for one. On the second signal
    everything is killed.

    Args:
        command: What to run.
        settings: Environment variables to add.
    """

    def __init__(self, command: list[str], settings: Mapping[str, str]) -> None:
        self._command = command
        self._environment = {**os.environ, **settings}
        self._launcher: psutil.Process | None = None
        self._workers: set[psutil.Process] = set()

    def run(self, stop: StopRequest) -> int:
        """Starts it and waits.

        Args:
            stop: What signals ask for; deferred from here on.

        Returns:
            The launcher's exit status; 128 + n where signal n killed it.
        """
        stop.defer(self._pass_on)
        child = subprocess.Popen(self._command, env=self._environment)
        with contextlib.suppress(psutil.NoSuchProcess):
            self._launcher = psutil.Process(child.pid)
        if stop.signal is not None:
            # It may have come before there was anyone to pass it on to.
            self._pass_on(stop.signal, False)
        while (status := _wait(child)) is None:
            self._workers.update(self._children())
        # A launcher that was killed leaves workers that may still be saving.
        psutil.wait_procs(self._workers)
        return status if status >= 0 else 128 - status

    def _children(self, recursive: bool = False) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            return self._launcher.children(recursive) if self._launcher else []
        return []

    def _pass_on(self, signum: int, again: bool) -> None:
        if again:
            _send(signal.SIGKILL, {*self._children(recursive=True), *self._workers, *self._itself()})
            return
        self._workers.update(self._children())
        if self._workers:
            _send(signum, self._workers)
        else:
            # Nothing has begun, nothing is lost.
            _send(signal.SIGTERM, set(self._itself()))

    def _itself(self) -> Iterator[psutil.Process]:
        if self._launcher is not None:
            yield self._launcher


def _wait(child: subprocess.Popen[bytes]) -> int | None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(_LOOK_SECONDS)
    return None


def _send(signum: int, processes: set[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signum)
