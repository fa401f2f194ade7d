"""A checkpoint exists when its manifest does, only while every file is as it says, and only with all of the state."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from hfrecipes.callbacks.folders import last_finished, list_checkpoints, missing_state, newest_valid, rotate, unfit
from hfrecipes.recipe.manifest import MANIFEST, faults_of, write_manifest

# Files of a checkpoint by layout, as the stock Trainer, accelerate and DeepSpeed write them.
LAYOUTS = {
    "one process": ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"],
    "adapter": ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"],
    "ddp": ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth"],
    "fsdp, sharded": [
        "pytorch_model_fsdp_0/__0_0.distcp",
        "pytorch_model_fsdp_0/.metadata",
        "optimizer_0/__0_0.distcp",
        "scheduler.pt",
        "rng_state_0.pth",
        "rng_state_1.pth",
    ],
    "fsdp, full": ["pytorch_model_fsdp.bin", "optimizer.bin", "scheduler.pt", "rng_state_0.pth"],
    "deepspeed": [
        "global_step2/mp_rank_00_model_states.pt",
        "global_step2/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt",
        "latest",
        "rng_state_0.pth",
    ],
}
# As transformers 5.23 and our trainer for fine-tuning write them.
STATE = {
    "best_metric": None,
    "best_model_checkpoint": None,
    "epoch": 0.5,
    "eval_steps": 500,
    "global_step": 2,
    "is_world_process_zero": True,
    "log_history": [{"epoch": 0.25, "grad_norm": 0.7, "learning_rate": 0.001, "loss": 2.5, "step": 1}],
    "logging_steps": 0.1,
    "max_steps": 200,
    "num_train_epochs": 1,
    "save_steps": 2,
    "stateful_callbacks": {"TrainerControl": {"args": {"should_save": True}, "attributes": {}}},
    "total_flos": 4.0e9,
    "train_batch_size": 2,
    "trial_params": None,
}
SUMS = {"loss": [0.5], "total_loss": 2.0, "last_logged": 1, "metrics": {"entropy": [1.5]}, "tokens": 40}


def make(folder: Path, step: int, finished: bool = True, layout: str = "one process") -> Path:
    path = folder / f"checkpoint-{step}"
    for name in LAYOUTS[layout]:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(f"{name} of step {step}".encode())
    (path / "trainer_state.json").write_text(json.dumps({**STATE, "global_step": step}))
    (path / "accumulators.json").write_text(json.dumps(SUMS))
    if finished:
        write_manifest(path, step=step)
    return path


def spoil(file: Path, damage: str) -> None:
    content = file.read_bytes()
    if damage == "removed":
        file.unlink()
        return
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    file.write_bytes({"emptied": b"", "cut": content[:middle], "flipped": flipped}[damage])


def test_the_newest_whole_one_is_taken(tmp_path: Path) -> None:
    make(tmp_path, 9)
    make(tmp_path, 10)
    make(tmp_path, 100, finished=False)
    found, skipped = newest_valid(tmp_path)
    assert found is not None and found.name == "checkpoint-10"
    assert skipped == {"checkpoint-100": ["it was not finished: no manifest"]}


@pytest.mark.parametrize("name", [*LAYOUTS["one process"], "trainer_state.json", "accumulators.json", MANIFEST])
@pytest.mark.parametrize("damage", ["removed", "emptied", "cut", "flipped"])
def test_any_damage_is_found(name: str, damage: str, tmp_path: Path) -> None:
    make(tmp_path, 1)
    spoil(make(tmp_path, 2) / name, damage)
    found, skipped = newest_valid(tmp_path)
    assert found is not None and found.name == "checkpoint-1"
    assert list(skipped) == ["checkpoint-2"]
    assert skipped["checkpoint-2"][0]


def test_no_flipped_bit_of_a_manifest_is_an_error_of_ours(tmp_path: Path) -> None:
    """It is a fault, or in a place that says nothing about the files; never an exception."""
    checkpoint = make(tmp_path, 1)
    content = (checkpoint / MANIFEST).read_bytes()
    generator = random.Random(0)
    found = 0
    for _ in range(300):
        place, bit = generator.randrange(len(content)), 1 << generator.randrange(8)
        changed = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
        (checkpoint / MANIFEST).write_bytes(changed)
        found += bool(unfit(checkpoint))
    assert found > 250


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "null",
        '{"files": []}',
        '{"files": {"model.safetensors": 3}}',
        '{"files": {"x": {"size": "1"}}}',
        "[" * 10**5,
    ],
)
def test_a_manifest_of_another_shape_is_damaged(text: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 1)
    (checkpoint / MANIFEST).write_text(text)
    assert unfit(checkpoint) == ["its manifest is damaged"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_whole_only_with_all_of_its_state(layout: str, tmp_path: Path) -> None:
    assert not unfit(make(tmp_path, 2, layout=layout))
    for name in LAYOUTS[layout]:
        folder = tmp_path / name.replace("/", "-")
        checkpoint = make(folder, 2, finished=False, layout=layout)
        (checkpoint / name).unlink()
        siblings = [other for other in LAYOUTS[layout] if other.startswith("rng_state") or ".metadata" in other]
        if name == "latest" or (name in siblings and len(siblings) > 1):
            continue
        assert missing_state(checkpoint), f"without {name} nothing is missed"
        # The manifest does not make up for it: what it vouches for was never all.
        write_manifest(checkpoint)
        assert "it lacks" in unfit(checkpoint)[0]


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "a/../../secret.txt"])
def test_a_manifest_that_names_files_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    checkpoint = make(tmp_path, 1)
    manifest = json.loads((checkpoint / MANIFEST).read_text())
    manifest["files"][name] = {"size": 1, "sha256": "0" * 64}
    (checkpoint / MANIFEST).write_text(json.dumps(manifest))
    assert unfit(checkpoint) == [f"its manifest names {name}, which lies elsewhere"]


def test_links_are_refused(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 1)
    outside = tmp_path / "outside.safetensors"
    (checkpoint / "model.safetensors").rename(outside)
    (checkpoint / "model.safetensors").symlink_to(outside)
    assert unfit(checkpoint) == ["model.safetensors is a link that leads out of the folder"]
    (tmp_path / "checkpoint-2").symlink_to(make(tmp_path / "elsewhere", 2))
    assert unfit(tmp_path / "checkpoint-2") == ["it is a link"]


def test_files_that_nobody_saved_are_refused(tmp_path: Path) -> None:
    """The stock Trainer prefers `pytorch_model.bin`, a pickle, to what was saved."""
    checkpoint = make(tmp_path, 1)
    (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    assert unfit(checkpoint) == ["pytorch_model.bin was not there when it was saved"]
    assert not faults_of(checkpoint, others=False)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json", "default/adapter_model.bin"])
def test_pickled_weights_are_refused_though_the_manifest_names_them(name: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 1, finished=False)
    (checkpoint / name).parent.mkdir(exist_ok=True)
    (checkpoint / name).write_bytes(b"\x80\x04.")
    write_manifest(checkpoint, step=1)
    assert unfit(checkpoint) == [f"{name} holds pickled weights, which are not read"]


def test_a_safetensors_file_of_another_name_is_not_the_weights(tmp_path: Path) -> None:
    """Beside one, the stock Trainer would read the weights from a pickle."""
    checkpoint = make(tmp_path, 1, finished=False)
    (checkpoint / "model.safetensors").rename(checkpoint / "dummy.safetensors")
    write_manifest(checkpoint, step=1)
    assert unfit(checkpoint) == ["it lacks the weights"]


def change(checkpoint: Path, name: str, changes: object) -> None:
    """Somebody edits a file, and the manifest with it."""
    before = json.loads((checkpoint / name).read_text())
    after = {**before, **changes} if isinstance(changes, dict) else changes
    (checkpoint / name).write_text(json.dumps(after))
    write_manifest(checkpoint, step=1)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        {"global_step": 4.0},
        {"global_step": True},
        {"log_history": "x"},
        {"log_history": [1]},
        {"log_history": [{"loss": 2.0}]},
        {"log_history": [{"loss": "2", "step": 1}]},
        {"stateful_callbacks": []},
        {"stateful_callbacks": {"EarlyStoppingCallback": 5}},
        {"stateful_callbacks": {"EarlyStoppingCallback": {"attributes": []}}},
        {"unknown": 1},
        {"best_model_checkpoint": 5},
        {"total_flos": "many"},
        {"train_batch_size": "2"},
        {"max_steps": 0.5},
        {"global_step": 1, "max_steps": -1},
    ],
)
def test_an_edited_state_is_passed_over(changes: object, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 1)
    change(checkpoint, "trainer_state.json", changes)
    assert unfit(checkpoint)
    assert newest_valid(tmp_path)[1].keys() == {"checkpoint-1"}


def test_a_step_beyond_the_run_is_passed_over(tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 40)
    change(checkpoint, "trainer_state.json", {"max_steps": 6})
    assert unfit(checkpoint) == ["its state is that of step 40 of 6"]


@pytest.mark.parametrize(
    "changes",
    [
        [],
        {"loss": []},
        {"loss": ["1"]},
        {"total_loss": None},
        {"last_logged": 0.5},
        {"metrics": []},
        {"tokens": "x"},
        {"metrics": {"entropy": 1.0}},
        {"metrics": {"entropy": [None]}},
    ],
)
def test_edited_sums_are_passed_over(changes: object, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 1)
    change(checkpoint, "accumulators.json", changes)
    assert unfit(checkpoint) == ["accumulators.json holds no training's sums"]


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, "\x00"])
@pytest.mark.parametrize("name", ["trainer_state.json", "accumulators.json"])
def test_broken_json_is_passed_over(name: str, text: str, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 1)
    (checkpoint / name).write_text(text)
    write_manifest(checkpoint, step=1)
    assert unfit(checkpoint) == [f"{name} cannot be read"]


@pytest.mark.parametrize("facts", [{"fingerprint": 5}, {"fingerprint": None}, {"world_size": "2"}])
def test_an_edited_manifest_is_passed_over(facts: dict, tmp_path: Path) -> None:
    checkpoint = make(tmp_path, 1)
    write_manifest(checkpoint, step=1, **facts)
    assert unfit(checkpoint) == ["its manifest is damaged"]


def test_a_renamed_checkpoint_is_refused(tmp_path: Path) -> None:
    make(tmp_path, 3).rename(tmp_path / "checkpoint-30")
    assert unfit(tmp_path / "checkpoint-30") == ["its state is that of step 3"]


def test_rotation_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    best = make(tmp_path, 1)
    for step in (2, 3, 4):
        make(tmp_path, step)
    make(tmp_path, 5, finished=False)
    rotate(tmp_path, keep=2, best=str(best))
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-1", "checkpoint-3", "checkpoint-4"]
    assert not faults_of(best)


def test_rotation_never_removes_the_last_finished_one(tmp_path: Path) -> None:
    make(tmp_path, 1)
    make(tmp_path, 2, finished=False)
    rotate(tmp_path, keep=0, best=None)
    assert last_finished(tmp_path) == tmp_path / "checkpoint-1"


def test_nothing_there(tmp_path: Path) -> None:
    assert newest_valid(tmp_path) == (None, {})
    assert last_finished(tmp_path) is None
