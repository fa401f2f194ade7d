"""A checkpoint exists when its manifest does, and only while every file is as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes.callbacks.manifest import MANIFEST, faults_of, list_checkpoints, newest_valid, rotate, write_manifest


def make(folder: Path, step: int, finished: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights of step %d" % step)
    (path / "optimizer.pt").write_bytes(b"moments")
    (path / "trainer_state.json").write_text("{}")
    if finished:
        write_manifest(path)
    return path


def test_the_newest_whole_one_is_taken(tmp_path: Path) -> None:
    make(tmp_path, 9)
    make(tmp_path, 10)
    make(tmp_path, 100, finished=False)
    found, skipped = newest_valid(tmp_path)
    assert found.name == "checkpoint-10"
    assert skipped == {"checkpoint-100": ["it was not finished: no manifest"]}


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json", MANIFEST])
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut", "flipped"])
def test_any_damage_is_found(name: str, damage: str, tmp_path: Path) -> None:
    make(tmp_path, 1)
    file = make(tmp_path, 2) / name
    content = file.read_bytes()
    if damage == "removed":
        file.unlink()
    elif damage == "emptied":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    found, skipped = newest_valid(tmp_path)
    assert found.name == "checkpoint-1"
    assert list(skipped) == ["checkpoint-2"]


def test_rotation_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    best = make(tmp_path, 1)
    for step in (2, 3, 4):
        make(tmp_path, step)
    make(tmp_path, 5, finished=False)
    rotate(tmp_path, keep=2, best=str(best))
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-1", "checkpoint-3", "checkpoint-4"]
    assert not faults_of(best)


def test_nothing_there(tmp_path: Path) -> None:
    assert newest_valid(tmp_path) == (None, {})
