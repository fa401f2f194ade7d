"""Why a run that had begun ends before its last step, and the exit status that says so."""

from __future__ import annotations


class RunStoppedError(Exception):
    """A run stopped by itself, for a reason that is not a fault of the program; what it saved before stands.

    `exit_status` is the process's, so that a script can tell them apart.
    """

    exit_status = 1


class PoisonedRunError(RunStoppedError, FloatingPointError):
    """A loss, a gradient or a weight is not finite, or has left all bounds; nothing was saved after that."""


class DiskFullError(RunStoppedError, OSError):
    """There was no room for a checkpoint or a model; the last one that was finished is whole."""


class InterruptedRunError(RunStoppedError):
    """A signal asked the run to end; it saved and can be resumed.

    The status is `EX_TEMPFAIL` of sysexits.h: a temporary failure, try again.
    """

    exit_status = 75
