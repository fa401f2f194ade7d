"""Signals as requests: the first asks the run to end, the second ends it at once. Imports no torch.

SIGTERM is what schedulers send, SIGINT is Ctrl-C, SIGHUP is a terminal that closed (a connection that was lost), SIGUSR1 is what
`sbatch --signal=USR1@…` is often told to send; unasked for, it would kill the process. A signal that was ignored when the
program began (`nohup`, a shell's background job) stays ignored.
"""

from __future__ import annotations

import _thread
import contextlib
import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from hfrecipes.recipe.stops import InterruptedRunError

# Not every system has all of them.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
# A process can get one request twice: from the terminal or the scheduler, and passed on by its launcher.
SAME_SECONDS = 2.0
# How long a signal waits that finds the program importing something, before it looks again.
_IMPORT_SECONDS = 0.1
_IMPORT = "<frozen importlib._bootstrap>"
_STDOUT, _STDERR = 1, 2
_HANGUP = getattr(signal, "SIGHUP", None)
_SHOW_CURSOR = "\x1b[?25h"


class Interruption(KeyboardInterrupt):
    """Raised wherever the program is when a signal comes; no `except Exception` of a library takes it for its own failure."""


class StopRequest:
    """Whether a signal has asked this process to stop, and what came of it.

    Attributes:
        signal: The signal's number; None while there was none.
        step: The step after which the training was saved and stopped because of it; None while it was not.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self.step: int | None = None
        self._time = 0.0
        self._told: Callable[[int, bool], None] | None = None
        self._came_back = False
        self._process = os.getpid()
        self._previous: dict[int, object] = {}

    def defer(self, told: Callable[[int, bool], None]) -> None:
        """From now on the first signal is only noted.

        Args:
            told: Is given the signal and whether it is the second one, after which the process dies. It runs inside the
                handler: it may not print, since the interrupted code can be in the middle of printing; see `say`.
        """
        self._told = told

    def act_at_once(self) -> None:
        """From now on the first signal raises."""
        self._told = None

    def note(self, signum: int) -> None:
        """Takes over a request that came elsewhere, say to another process of the run."""
        if self.signal is None:
            self.signal, self._time = signum, time.monotonic()

    def install(self) -> None:
        """Takes the place of the handlers there are, but where a signal is ignored or handled outside of Python."""
        for signum in SIGNALS:
            if signal.getsignal(signum) not in (signal.SIG_IGN, None):
                self._previous[signum] = signal.signal(signum, self._handle)

    def restore(self) -> None:
        """Puts the earlier handlers back."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)
        self._previous = {}

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if signum == _HANGUP:
            _forget_terminal()
        if os.getpid() != self._process:
            # A forked child: pools end theirs by SIGTERM.
            signal.signal(signum, self._previous[signum])
            signal.raise_signal(signum)
        elif self.signal is None or self._came_back:
            self._came_back = False
            self.note(signum)
            self._act(signum, frame)
        elif signum != self.signal or time.monotonic() - self._time >= SAME_SECONDS:
            if self._told is not None:
                self._told(signum, True)
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)

    def _act(self, signum: int, frame: FrameType | None) -> None:
        if self._told is not None:
            self._told(signum, False)
        elif _is_importing(frame):
            # An exception in the middle of a C extension's setting up can crash the interpreter; torch's does.
            _thread.start_new_thread(self._come_back, (signum,))
        else:
            raise Interruption(name_of(signum))

    def _come_back(self, signum: int) -> None:
        time.sleep(_IMPORT_SECONDS)
        if self._previous:
            self._came_back = True
            os.kill(self._process, signum)


@contextlib.contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Catches SIGTERM, SIGINT, SIGHUP and SIGUSR1 while it is open.

    The first signal raises, unless `StopRequest.defer` said that it be noted only. Another one, of another kind or `SAME_SECONDS`
    later, kills the process as if nobody had caught it. Python runs handlers between two of its instructions: a signal waits for
    the call into a library that is under way. Outside of the main thread nothing is caught.

    Raises:
        InterruptedRunError: where a signal came that was not deferred.
    """
    stop = StopRequest()
    if threading.current_thread() is threading.main_thread():
        stop.install()
    try:
        yield stop
    except Interruption as error:
        raise InterruptedRunError(f"{error}: what was saved before is whole; go on with --resume") from None
    finally:
        stop.restore()


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != _IMPORT:
        frame = frame.f_back
    return frame is not None


def _forget_terminal() -> None:
    """Lets what is printed from now on go nowhere: on a terminal that is gone, the next line would end the run in an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (_STDOUT, _STDERR):
        try:
            os.write(stream, b"")
        except OSError as error:
            if error.errno == errno.EIO:
                os.dup2(nowhere, stream)
    os.close(nowhere)


def name_of(signum: int) -> str:
    """`SIGTERM` for 15."""
    return signal.Signals(signum).name


def say(text: str) -> None:
    """Writes a line to stderr, past all buffers, from within a handler."""
    # A progress bar has hidden the cursor and left it in the middle of a line.
    line = f"\n{_SHOW_CURSOR}{text}\n" if os.isatty(_STDERR) else f"{text}\n"
    with contextlib.suppress(OSError):
        os.write(_STDERR, line.encode())
