"""What a run is said to have held at most, in a process in which others ran before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hfrecipes.stages import facts
from hfrecipes.stages.facts import PeakMemory

MIB = 2**20
linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux sets the mark back")


def held(mebibytes: int) -> float | None:
    """The figure of a run that holds so many, in pieces that the C library does not hand back by itself."""
    memory = PeakMemory()
    pieces = [np.ones(MIB // 16, np.uint8) for _ in range(mebibytes * 16)]
    del pieces
    found = memory.bytes()
    return None if found is None else found / MIB


@linux
def test_a_later_and_smaller_run_has_a_figure_of_its_own() -> None:
    assert [held(mebibytes) for mebibytes in (160, 40, 80)] == pytest.approx([160, 40, 80], abs=12)


@linux
def test_a_mark_that_an_earlier_run_left_is_no_figure_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    held(160)
    monkeypatch.setattr(facts, "_set_back_high_water_mark", lambda: False)
    assert held(40) is None
    assert held(240) == pytest.approx(240, abs=12)
