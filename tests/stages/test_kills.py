"""Trainings killed by SIGKILL and resumed end as if nothing had happened; the machinery is that of benchmarks/kill_resume.py."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from benchmarks.kills.campaign import Aim, Campaign, Grounds
from benchmarks.kills.compare import differences
from benchmarks.kills.session import Session, build_slow_disk
from benchmarks.kills.sight import newest_valid, read_lines, steps_since
from benchmarks.kills.trainings import TRAININGS, write_trainings

# A save, the end of the first training, a step, and a save of the second (an adapter, with dropout).
AIMS = [
    Aim(0, "save", 10, "optimizer.pt"),
    Aim(0, "model", 20),
    Aim(1, "step", 7, wait=0.02),
    Aim(1, "save", 15, "rng_state*"),
]
# A busy machine may look away for as long as a save takes.
TRIES = 3
WORLD_TWO = """
kind: pretrain
model:
  config: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 4}
  tokenizer: {vocab_size: 512}
data:
  train: [{path: rows.jsonl}]
  context_length: 64
training: {learning_rate: 3.0e-3, global_batch_size: 4, max_steps: 16, logging_steps: 1, save_steps: 5}
"""
LAUNCH = ["-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2"]


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Grounds:
    """A pipeline (pretrain, then an adapter) that has been run once without a kill."""
    folder = tmp_path_factory.mktemp("kills")
    write_trainings(folder)
    disk = build_slow_disk(folder, folder / "runs")
    grounds = Grounds(folder, "pipeline", TRAININGS["pipeline"], disk)
    grounds.run_reference()
    return grounds


@pytest.fixture(scope="module")
def campaign(grounds: Grounds) -> Campaign:
    for _ in range(TRIES):
        campaign = grounds.campaign(AIMS)
        if [kill.sight.inside for kill in campaign.kills][::3] == ["save", "save"]:
            break
    return campaign


def test_four_kills_leave_no_trace(campaign: Campaign) -> None:
    assert not campaign.differences
    assert len(campaign.kills) == len(AIMS)


def test_only_the_steps_since_the_last_whole_checkpoint_are_repeated(campaign: Campaign) -> None:
    assert [fault for kill in campaign.kills for fault in kill.faults] == []
    for kill in campaign.kills:
        assert kill.repeated <= 5
        assert kill.first is None or kill.first == kill.valid + 1


def test_two_of_the_kills_were_inside_a_save(campaign: Campaign) -> None:
    first, *_, last = campaign.kills
    assert (first.sight.inside, first.valid, first.first) == ("save", 5, 6)
    assert "optimizer.pt" in first.sight.files
    assert (last.sight.inside, last.valid, last.first) == ("save", 10, 11)


def test_the_comparison_sees_one_changed_byte(grounds: Grounds, tmp_path: Path) -> None:
    changed = shutil.copytree(grounds.reference, tmp_path / "changed")
    assert differences(grounds.reference, changed, grounds.parts) == []
    weights = changed / "base" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + bytes([weights.read_bytes()[-1] ^ 1]))
    lines = (changed / "tuned" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (changed / "tuned" / "metrics.jsonl").write_text("".join(lines[:-1]))
    found = differences(grounds.reference, changed, grounds.parts)
    assert found[0] == "base: model/model.safetensors"
    assert found[1].startswith("tuned: metrics.jsonl")
    assert len(found) == 2


def test_two_processes_killed_and_gone_on_with_by_one_and_by_two(tmp_path: Path) -> None:
    """In the middle of an epoch after the first, whose order accelerate alone would lose with two processes."""
    (tmp_path / "recipe.yaml").write_text(WORLD_TWO)
    texts = [f"The number {n} is followed by {n + 1}; its square is {n * n}." for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    run, limit = tmp_path / "runs" / "recipe", 200.0
    alone = Session(["-m", "hfrecipes", "recipe.yaml", "name=alone"], tmp_path, tmp_path / "alone.log")
    assert alone.finish(limit) == 0, alone.tail()
    both = [*LAUNCH, "--main_process_port", "0", "-m", "hfrecipes", "recipe.yaml"]
    two = Session(both, tmp_path, tmp_path / "two.log")
    deadline = time.monotonic() + limit
    while max(steps_since(run, two.began), default=0) < 7:
        assert two.runs, two.tail()
        assert time.monotonic() < deadline, two.tail()
        time.sleep(0.001)
    assert two.kill()
    valid = newest_valid(run)
    assert valid in (5, 10)
    assert newest_world_size(run, valid) == 2
    epoch = json.loads((run / "checkpoints" / f"checkpoint-{valid}" / "trainer_state.json").read_text())["epoch"]
    assert epoch > 1 and epoch % 1
    shutil.copytree(run, run.parent / "again")
    one = Session(["-m", "hfrecipes", "recipe.yaml", "--resume"], tmp_path, tmp_path / "one.log")
    assert one.finish(limit) == 0, one.tail()
    assert one.resumed_from() == [valid]
    assert min(steps_since(run, one.began)) == valid + 1
    assert losses(run) == pytest.approx(losses(run.parent / "alone"), rel=1e-5)
    again = Session([*both, "name=again", "--resume"], tmp_path, tmp_path / "again.log")
    assert again.finish(limit) == 0, again.tail()
    assert losses(run.parent / "again") == pytest.approx(losses(run.parent / "alone"), rel=1e-5)


def newest_world_size(run: Path, step: int) -> int:
    """How many processes saved a checkpoint, by the states of their random generators."""
    return len(list((run / "checkpoints" / f"checkpoint-{step}").glob("rng_state*.pth")))


def losses(run: Path) -> list[float]:
    found = [line["loss"] for line in read_lines(run) if "loss" in line]
    assert len(found) == 16
    return found
