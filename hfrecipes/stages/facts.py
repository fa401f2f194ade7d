"""What a run did, gathered for `run.json`."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from hfrecipes.models.adapters import is_adapter, trained_tokens
from hfrecipes.models.extended_embeddings import input_rows
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.rundir import RunDir, now

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes", "tokenizers")


def starting_facts(
    recipe: Recipe, hardware: Hardware, world_size: int, warnings: list[str], run: RunDir
) -> dict[str, Any]:
    """What is known before anything is trained."""
    return {
        "hfrecipes": version("hfrecipes"),
        "name": recipe.name,
        "folder": _folder(run),
        "kind": recipe.kind,
        "status": "running",
        "started": now(),
        "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],  # noqa: PTH119
        "recipe": recipe.values,
        "recipe_file": recipe.path.name,
        "versions": _versions(),
        "hardware": _hardware(hardware, world_size),
        "warnings": warnings,
    }


def _folder(run: RunDir) -> str:
    """The run directory from where the run was started, as code in its card names it; absolute where it lies elsewhere."""
    path = run.path.resolve()
    return (path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path).as_posix()


def resumed_facts(earlier: dict[str, Any], first_step: int, changes: Sequence[str]) -> dict[str, Any]:
    """What a session adds to those before it.

    Args:
        earlier: Facts of the session before; empty for a run that begins.
        first_step: The step it goes on from.
        changes: What was changed on purpose.
    """
    session = {"started": now(), "first_step": first_step, "changes": list(changes)}
    return {
        "started": earlier.get("started", session["started"]),
        "sessions": [*(earlier.get("sessions") or []), session],
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "hfrecipes": version("hfrecipes")}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _hardware(hardware: Hardware, world_size: int) -> dict[str, Any]:
    return {
        "device": hardware.device,
        "name": hardware.name,
        "count": hardware.count,
        "world_size": world_size,
        "cpu_count": os.cpu_count(),
        "memory_bytes": hardware.memory_bytes,
    }


def model_facts(recipe: Recipe, model: Any, counts: dict[str, int] | None, *, chat: bool) -> dict[str, Any]:
    """The model as it was trained.

    Args:
        recipe: A resolved recipe.
        model: The model, unwrapped.
        counts: Parameters as the plan counted them; counted in the model itself where None.
        chat: Whether it was trained on conversations, through the tokenizer's chat template.
    """
    config = model.config.get_text_config()
    name = recipe.get("model.name_or_path")
    local = recipe.find_file(name) if name else None
    return {
        "name_or_path": name,
        "revision": recipe.get("model.revision") or getattr(model.config, "_commit_hash", None),
        "model_type": config.model_type,
        # An absolute path cannot be taken for a Hub id.
        "base": str(local.resolve()) if local is not None and local.exists() else name,
        "chat_template": chat,
        "parameters": counts or _count(model),
        "adapter": recipe.get("adapter"),
        **(_further_adapter(model) if local is not None and is_adapter(local) else {}),
        "quantization": recipe.get("quantization"),
        "context_length": recipe.get("data.context_length") or recipe.get("training.max_length"),
    }


def _further_adapter(model: Any) -> dict[str, Any]:
    """What an adapter that was trained further says of itself; nothing where it was merged into its base for that."""
    configs = getattr(model, "peft_config", {})
    if not configs:
        return {}
    config = configs[model.active_adapter]
    base = config.base_model_name_or_path
    place = Path(base).expanduser()
    # Code that loads it has to make room for rows that the base does not have.
    rows = {"embedding_rows": input_rows(model)} if trained_tokens(vars(config)) else {}
    return {
        "adapter": {"method": str(getattr(config.peft_type, "value", config.peft_type)).lower()},
        "adapter_base": str(place.resolve()) if place.exists() else base,
        "revision": config.revision,
        **rows,
    }


def _count(model: Any) -> dict[str, int]:
    parameters = list(model.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    embedding = model.get_input_embeddings().weight.numel()
    trainable = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    return {"total": total, "trainable": trainable, "embedding": embedding, "non_embedding": total - embedding}


class Stopwatch:
    """Wall and CPU seconds, the CPU's of this process alone."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.monotonic(), time.process_time()

    def facts(self, evaluation_seconds: float) -> dict[str, float]:
        """Seconds since the start, and how many of the wall's went into evaluation."""
        return {
            "evaluation_seconds": round(evaluation_seconds, 3),
            "wall_seconds": round(time.monotonic() - self.wall, 3),
            "cpu_seconds": round(time.process_time() - self.cpu, 3),
        }


def training_facts(
    trainer: Any, first_step: int, watch: dict[str, float], peak_memory: int | None, flops_per_token: float | None
) -> dict[str, Any]:
    """What the steps since `first_step` did, counted from the rows that were read.

    Args:
        trainer: One of ours, after `train()`.
        first_step: 0, or the step a resumed run went on from.
        watch: From `Stopwatch`.
        peak_memory: From `PeakMemory`, begun before the model was loaded; None where it is not known.
        flops_per_token: Model FLOPs; None where they are not known.
    """
    steps, batch = trainer.state.global_step, trainer.global_batch_size
    lengths, supervised = row_sizes(trainer.train_dataset)
    order = trainer.rows_read()
    tokens, measured = int(lengths[order].sum()), int(lengths[order[first_step * batch :]].sum())
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "steps": steps,
        # The sources of a mixture have epochs of their own.
        "epochs": None if trainer.mixture_plan else round(steps * batch / len(lengths), 4),
        "rows": steps * batch,
        "tokens": tokens,
        "supervised_tokens": int(supervised[order].sum()),
        "flops": flops_per_token * tokens if flops_per_token else None,
        **watch,
        "tokens_per_second": round(measured / max(watch["wall_seconds"] - watch["evaluation_seconds"], 1e-9), 1),
        "peak_memory_bytes": peak_memory,
        "global_batch_size": batch,
        "micro_batch_size": trainer.args.per_device_train_batch_size,
        "accumulation_steps": trainer.args.gradient_accumulation_steps,
        # The weights that were kept, where they are not the last ones.
        "best_step": trainer.state.best_global_step if trainer.args.load_best_model_at_end else None,
        "first_loss": losses[0] if losses else None,
        "final_loss": losses[-1] if losses else None,
    }


def row_sizes(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and supervised tokens of each row of a tokenised data set, without making Python lists of it."""
    lengths, supervised = [], []
    for chunk in dataset.with_format("arrow").iter(batch_size=1024):
        labels = chunk.column("labels").combine_chunks()
        sizes = np.diff(labels.offsets.to_numpy())
        carries_loss = labels.flatten().to_numpy() != -100
        lengths.append(sizes)
        supervised.append(
            np.bincount(np.repeat(np.arange(len(sizes)), sizes), weights=carries_loss, minlength=len(sizes))
        )
    return np.concatenate(lengths), np.concatenate(supervised).astype(np.int64)


class PeakMemory:
    """The most memory held since this was made, above what was held then: the libraries and earlier runs are not counted.

    On a GPU the allocator's peak; on a CPU the process's resident memory, whose high-water mark Linux can set back.
    """

    def __init__(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            _give_back_freed_memory()
            self.is_set_back = _set_back_high_water_mark()
            self.before = psutil.Process().memory_info().rss
            self.earlier = _high_water_mark()

    def bytes(self) -> int | None:
        """The figure; None where the mark cannot be set back and is still the one that something before has left."""
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() - self.before
        peak = _high_water_mark()
        if peak <= self.earlier and not self.is_set_back:
            return None
        return max(peak - self.before, 0)


def _give_back_freed_memory() -> None:
    """Hands the kernel what an earlier run has freed: the next one would fill it, and seem to need nothing."""
    gc.collect()
    # malloc_trim(3) is glibc's; other C libraries keep less.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _set_back_high_water_mark() -> bool:
    """Whether it could be done."""
    # See proc(5): writing 5 makes VmHWM the memory of now.
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _high_water_mark() -> int:
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    # macOS counts in bytes, and knows only the peak of the whole process.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
