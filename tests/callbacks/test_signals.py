"""A signal is a request: noted or raised, once; a second one kills. What can kill runs in a process of its own."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hfrecipes.callbacks.signals import SAME_SECONDS, SIGNALS, catch_signals
from hfrecipes.recipe.stops import InterruptedRunError


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[int, object]]:
    """The handlers before the test; they have to be there after it."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield before
    after = {signum: signal.getsignal(signum) for signum in SIGNALS}
    for signum, handler in before.items():
        signal.signal(signum, handler)
    assert after == before


@pytest.mark.parametrize("signum", SIGNALS)
def test_where_nothing_is_deferred_the_first_signal_ends_the_run(signum: int) -> None:
    message = f"^{signal.Signals(signum).name}: .*--resume"
    with pytest.raises(InterruptedRunError, match=message) as caught, catch_signals() as stop:
        try:
            signal.raise_signal(signum)
        except Exception:
            pytest.fail("a library's `except Exception` would have swallowed it")
    assert caught.value.exit_status == 75
    assert stop.signal == signum


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_deferred_signal_is_noted_and_told_once(signum: int) -> None:
    told = []
    with catch_signals() as stop:
        stop.defer(lambda *what: told.append(what))
        assert stop.signal is None
        signal.raise_signal(signum)
        # The terminal's and the launcher's.
        signal.raise_signal(signum)
    assert stop.signal == signum
    assert told == [(signum, False)]


def test_after_deferring_signals_raise_again() -> None:
    with pytest.raises(InterruptedRunError), catch_signals() as stop:
        stop.defer(lambda *_: None)
        stop.act_at_once()
        signal.raise_signal(signal.SIGTERM)


def test_what_is_being_imported_is_imported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_imported.py").write_text("import signal\nsignal.raise_signal(signal.SIGTERM)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InterruptedRunError), catch_signals():
        whole = importlib.import_module("half_imported").whole
        time.sleep(10)
    assert whole


def test_an_error_of_the_program_leaves_as_it_is() -> None:
    with pytest.raises(KeyError), catch_signals():
        raise KeyError


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with catch_signals() as stop:
            signal.raise_signal(signal.SIGINT)
        assert stop.signal is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_catches_nothing(handlers: dict[int, object]) -> None:
    seen = []

    def work() -> None:
        with catch_signals() as stop:
            seen.append((stop.signal, {signum: signal.getsignal(signum) for signum in SIGNALS}))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(None, handlers)]


SECOND = """
import os, signal, sys, time
from hfrecipes.callbacks import signals

first, second, seconds = signal.Signals[sys.argv[1]], signal.Signals[sys.argv[2]], float(sys.argv[3])
with signals.catch_signals() as stop:
    stop.defer(lambda signum, again: signals.say(f"{signals.name_of(signum)} {again}"))
    os.kill(os.getpid(), first)
    time.sleep(seconds)
    os.kill(os.getpid(), second)
    print("alive")
"""


@pytest.mark.parametrize(
    ("first", "second", "seconds", "dies"),
    [
        ("SIGTERM", "SIGTERM", SAME_SECONDS + 0.1, True),
        ("SIGINT", "SIGINT", SAME_SECONDS + 0.1, True),
        ("SIGTERM", "SIGTERM", 0.1, False),
        ("SIGUSR1", "SIGTERM", 0, True),
    ],
)
def test_a_second_signal_kills(first: str, second: str, seconds: float, dies: bool) -> None:
    command = [sys.executable, "-c", SECOND, first, second, str(seconds)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == (-signal.Signals[second] if dies else 0)
    assert result.stdout == ("" if dies else "alive\n")
    assert result.stderr == f"{first} False\n" + (f"{second} True\n" if dies else "")


CHILD = """
import multiprocessing, time
from hfrecipes.callbacks.signals import catch_signals

if __name__ == "__main__":
    with catch_signals():
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        time.sleep(0.2)
        child.terminate()
        child.join()
    print(child.exitcode)
"""


def test_a_forked_child_dies_as_if_nothing_was_caught() -> None:
    result = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=False, timeout=60)
    assert (result.stdout, result.stderr) == (f"{-signal.SIGTERM}\n", "")
