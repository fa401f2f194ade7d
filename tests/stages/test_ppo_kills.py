"""A PPO killed by SIGKILL inside a save ends as if nothing had happened, policy and values."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kills.campaign import Aim, Grounds
from benchmarks.kills.session import build_slow_disk
from benchmarks.kills.trainings import Part
from tests.stages import policy_runs
from tests.stages.preference_runs import trained

# A busy machine may look away for as long as a save takes.
TRIES = 3


def test_policy_and_values_come_through_a_kill_inside_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy_runs.write_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    trained("base.yaml")
    grounds = Grounds(tmp_path, "ppo", (Part("", 12, save_every=4),), build_slow_disk(tmp_path, tmp_path / "runs"))
    grounds.run_reference()
    for _ in range(TRIES):
        # Values are there, and what is written after them is not.
        campaign = grounds.campaign([Aim(0, "save", 8, "value.safetensors")])
        (kill,) = campaign.kills
        if kill.sight.inside == "save":
            break
    assert (kill.sight.inside, kill.valid, kill.said, kill.first, kill.faults) == ("save", 4, [4], 5, [])
    assert "value.safetensors" in kill.sight.files and (grounds.reference / "model/value.safetensors").is_file()
    assert not campaign.differences
