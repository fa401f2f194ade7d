"""A training in a process of its own, on a slow disk, that can be killed with all its children."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

# A save of twenty milliseconds lasts about two hundred; so nothing but its speed is changed.
NAME_MICROSECONDS = 3000
KILOBYTE_MICROSECONDS = 40
_GOING_ON = re.compile(r"going on from checkpoint-(\d+)")


@dataclass(frozen=True, slots=True)
class SlowDisk:
    """What makes the files of one folder slow to write, in the processes that are given `environment`."""

    library: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "SLOW_DISK_FOLDER": str(self.folder),
            "SLOW_DISK_NAME_US": str(NAME_MICROSECONDS),
            "SLOW_DISK_KB_US": str(KILOBYTE_MICROSECONDS),
        }


def build_slow_disk(work: Path, folder: Path) -> SlowDisk | None:
    """Compiles the library into `work`; None where it cannot be had (no C compiler, not Linux): files are then quick."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    source, library = Path(__file__).with_name("slow_disk.c"), work / "slow_disk.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return SlowDisk(library, folder.resolve())


class Session:
    """A command that trains, from its start to its end or its kill.

    Args:
        command: What `python` is given.
        folder: Where it is started.
        log: Where its output goes.
        disk: The slow disk it writes to.
    """

    def __init__(self, command: list[str], folder: Path, log: Path, disk: SlowDisk | None = None) -> None:
        self.log = log
        # Files get the time of the kernel's last tick, which may lie a few milliseconds back.
        self.began = time.time() - 0.02
        environment = {
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **(disk.environment if disk else {}),
        }
        with log.open("wb") as output:
            self._process = psutil.Popen(
                [sys.executable, *command], cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> bool:
        """Kills the process and all its children by SIGKILL, parents first.

        Returns:
            Whether it was the kill that ended it.
        """
        # A launcher gives its workers sessions of their own, so a signal to the process group would not reach them.
        with contextlib.suppress(psutil.NoSuchProcess):
            family = [self._process, *self._process.children(recursive=True)]
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=30)
        return self._process.wait() < 0

    def finish(self, timeout: float) -> int:
        """Waits for its end.

        Returns:
            The exit status.

        Raises:
            TimeoutError: after `timeout` seconds; it is killed.
        """
        try:
            return self._process.wait(timeout)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired) as error:
            self.kill()
            raise TimeoutError(f"no end after {timeout} seconds: {self.tail()}") from error

    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self.output().splitlines()[-6:])

    def resumed_from(self) -> list[int]:
        """The checkpoints that it says it went on from: one of each training that it took up."""
        return [int(step) for step in _GOING_ON.findall(self.output())]
