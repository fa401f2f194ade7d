"""Room on the disk for a checkpoint: asked for before it is written, and recognised as the reason where writing failed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfrecipes.models.bottleneck import BottleneckModel
from hfrecipes.recipe.manifest import read_manifest
from hfrecipes.recipe.stops import DiskFullError

# The log in a checkpoint grows, file systems write whole blocks, and run.json has to be written too.
MARGIN = 0.05
MARGIN_BYTES = 256 * 1024
# What has to be writable for a failed save to have another reason. A writer that meets a full disk fills it first.
_PROBE_BYTES = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT)


def refuse_full_disk(folder: Path, needed_bytes: float, last_good: Path | None) -> None:
    """Called before a folder is written.

    Args:
        folder: The checkpoint or model to be written; need not exist.
        needed_bytes: From `next_checkpoint_bytes` or `estimate_model_bytes`.
        last_good: The newest finished checkpoint.

    Raises:
        DiskFullError: where the disk has no room for it.
    """
    disk = _existing(folder)
    # What an earlier attempt left in the folder is written over.
    free = shutil.disk_usage(disk).free + _bytes_in(folder)
    needed = needed_bytes * (1 + MARGIN) + MARGIN_BYTES
    if free < needed:
        fault = f"no room for {spoken_name(folder)}: {_size(needed)} needed, {_size(free)} free on {disk}"
        mend = f"{last_good.name} is whole: free some space and go on with --resume" if last_good else "free some space"
        raise DiskFullError(f"{fault}; {mend}")


def spoken_name(folder: Path) -> str:
    """What a folder is called that is written under a draft's name: `model` for `.model.part`."""
    return folder.name.removeprefix(".").removesuffix(".part")


def next_checkpoint_bytes(trainer: Any, last_good: Path | None) -> float:
    """Bytes of the next checkpoint: those of the newest finished one, else an estimate."""
    if last_good is not None:
        with contextlib.suppress(OSError, ValueError):
            if manifest := read_manifest(last_good):
                return sum(facts["size"] for facts in manifest["files"].values())
    return estimate_checkpoint_bytes(trainer)


def estimate_checkpoint_bytes(trainer: Any) -> int:
    """Bytes of the weights that are saved and of the optimizer's states, as they are in memory.

    Sharded tensors count whole. Of what ZeRO splits by itself only this process's part is counted, which is too little.
    """
    states = getattr(trainer.optimizer, "state", {})
    held = [value for state in states.values() if isinstance(state, dict) for value in state.values()]
    return estimate_model_bytes(trainer) + _tensor_bytes(held)


def estimate_model_bytes(trainer: Any) -> int:
    """Bytes of the weights that are saved: of an adapter, its own."""
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    adapter = hasattr(model, "peft_config") or isinstance(model, BottleneckModel)
    return _tensor_bytes([weight for weight in model.parameters() if weight.requires_grad or not adapter])


def explain_full_disk(error: BaseException, folder: Path) -> bool:
    """Whether an exception that a save raised means that the disk is full, or a quota used up.

    To be asked before what the save left is removed: torch's writer does not say why it failed, so the disk is tried.

    Args:
        error: What was raised; its causes and contexts are looked at too.
        folder: What was being written.
    """
    chain = list(_chain(error))
    if any(_says_full(link) for link in chain):
        return True
    return any(isinstance(link, RuntimeError) for link in chain) and not _can_write(_existing(folder))


def _says_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    # Rust's errors (safetensors, tokenizers) hold the system's number in their words.
    return any(f"(os error {number})" in str(error) for number in _FULL)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _can_write(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(os.urandom(_PROBE_BYTES))  # a file system that compresses would take zeros
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.errno not in _FULL
    return True


def _tensor_bytes(values: list[Any]) -> int:
    import torch

    tensors = {id(value): value for value in values if isinstance(value, torch.Tensor)}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _size(number: float) -> str:
    return f"{number / 2**30:,.1f} GiB" if number >= 2**30 else f"{number / 2**20:,.1f} MiB"
