"""Room on the disk, asked for before a save and recognised behind what a failed one raised."""

from __future__ import annotations

import errno
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from transformers import Trainer, TrainingArguments

from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.stops import DiskFullError
from hfrecipes.trainers import disk
from tests.trainers.conftest import VOCABULARY

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def free_space(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how much the disk says is free."""
    return lambda free: monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 0, free))


def trained(model: Any, folder: Path, **words: Any) -> Trainer:
    """A stock trainer after one step and a save."""
    ids = torch.randint(3, VOCABULARY, (4, 16), generator=torch.Generator().manual_seed(0)).tolist()
    args = TrainingArguments(
        str(folder), use_cpu=True, max_steps=1, save_steps=1, report_to="none", disable_tqdm=True, **words
    )
    trainer = Trainer(model=model, args=args, train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}))
    trainer.train()
    return trainer


def written(checkpoint: Path) -> int:
    return sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())


@pytest.mark.parametrize("model_type", ["llama", "qwen3", "gpt2"])
@pytest.mark.parametrize("optim", ["adamw_torch", "adafactor", "sgd"])
def test_the_estimate_is_what_a_save_writes(model_type: str, optim: str, tiny_model: Callable, tmp_path: Path) -> None:
    model = tiny_model(model_type, vocab_size=4096, tie_word_embeddings=True)
    trainer = trained(model, tmp_path, optim=optim)
    estimate = disk.estimate_checkpoint_bytes(trainer)
    # A tied embedding is saved once; what remains are small files and the headers of tensors.
    assert estimate <= written(tmp_path / "checkpoint-1") <= estimate + 64 * 1024
    weights = (tmp_path / "checkpoint-1" / "model.safetensors").stat().st_size
    assert disk.estimate_model_bytes(trainer) == pytest.approx(weights, rel=0.01)


def test_of_an_adapter_only_its_own_weights_are_saved(tiny_model: Callable, tmp_path: Path) -> None:
    model = get_peft_model(tiny_model(hidden_size=128), LoraConfig(r=64, target_modules="all-linear"))
    trainer = trained(model, tmp_path)
    estimate = disk.estimate_checkpoint_bytes(trainer)
    assert estimate <= written(tmp_path / "checkpoint-1") <= estimate + 64 * 1024
    assert estimate == 12 * sum(weight.numel() for weight in model.parameters() if weight.requires_grad) + 4 * sum(
        weight.requires_grad for weight in model.parameters()
    )


def test_the_newest_checkpoint_says_how_large_the_next_will_be(tmp_path: Path) -> None:
    last = tmp_path / "checkpoint-5"
    last.mkdir()
    (last / "a.bin").write_bytes(b"x" * 1000)
    (last / "b.bin").write_bytes(b"x" * 500)
    write_manifest(last)
    assert disk.next_checkpoint_bytes(None, last) == 1500


def test_a_damaged_manifest_leaves_the_estimate(tiny_model: Callable, tmp_path: Path) -> None:
    trainer = trained(tiny_model(), tmp_path)
    (tmp_path / "checkpoint-1" / "manifest.json").write_text("{", encoding="utf-8")
    estimate = disk.estimate_checkpoint_bytes(trainer)
    assert disk.next_checkpoint_bytes(trainer, tmp_path / "checkpoint-1") == estimate
    assert disk.next_checkpoint_bytes(trainer, None) == estimate


def test_a_save_that_does_not_fit_is_refused(free_space: Callable, tmp_path: Path) -> None:
    free_space(12 * 2**20)
    with pytest.raises(DiskFullError) as caught:
        disk.refuse_full_disk(tmp_path / "checkpoint-40", 60 * 2**20, tmp_path / "checkpoint-30")
    said = str(caught.value)
    assert said.startswith("no room for checkpoint-40: 63.2 MiB needed, 12.0 MiB free on ")
    assert str(tmp_path) in said
    assert said.endswith("checkpoint-30 is whole: free some space and go on with --resume")
    with pytest.raises(DiskFullError, match=r"free some space$"):
        disk.refuse_full_disk(tmp_path / "checkpoint-10", 60 * 2**20, None)
    disk.refuse_full_disk(tmp_path / "checkpoint-40", 10 * 2**20, None)


def test_what_an_earlier_attempt_left_is_room(free_space: Callable, tmp_path: Path) -> None:
    """A save that was killed left most of a checkpoint; the next attempt at it writes over that."""
    free_space(2**20)
    left = tmp_path / "checkpoint-40"
    left.mkdir()
    (left / "optimizer.pt").write_bytes(b"x" * 2 * 2**20)
    disk.refuse_full_disk(left, 2 * 2**20, None)
    with pytest.raises(DiskFullError):
        disk.refuse_full_disk(tmp_path / "checkpoint-50", 2 * 2**20, None)


def test_errors_that_name_the_reason_are_recognised(tmp_path: Path) -> None:
    assert disk.explain_full_disk(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert disk.explain_full_disk(OSError(errno.EDQUOT, "Disk quota exceeded"), tmp_path)
    rust = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert disk.explain_full_disk(rust, tmp_path)
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise ValueError("while cleaning up")
    except ValueError as error:
        assert disk.explain_full_disk(error, tmp_path)


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    """The disk of the tests has room, so a writer that failed had another reason."""
    for error in (
        OSError(errno.EACCES, "Permission denied"),
        RuntimeError("CUDA out of memory"),
        SafetensorError("Error while serializing: I/O error: Is a directory (os error 21)"),
        ValueError("another"),
    ):
        assert not disk.explain_full_disk(error, tmp_path)
    error = RuntimeError("a circle")
    error.__context__ = ValueError("of errors")
    error.__context__.__context__ = error
    assert not disk.explain_full_disk(error, tmp_path / "checkpoint-4")


def test_a_writer_that_gives_no_reason_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """torch.save says "unexpected pos" on a full disk; see also tests/stages/test_full_disk.py, on a real one."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk.os, "fsync", full)
    assert disk.explain_full_disk(RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos"), tmp_path)
    assert not disk.explain_full_disk(ValueError("no writer raises this"), tmp_path)
