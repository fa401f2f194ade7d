"""What a run did, gathered for `run.json`."""

from __future__ import annotations

import contextlib
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

from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.rundir import now

LIBRARIES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes", "tokenizers")


def starting_facts(recipe: Recipe, hardware: Hardware, world_size: int, warnings: list[str]) -> dict[str, Any]:
    """What is known before anything is trained."""
    return {
        "hfrecipes": version("hfrecipes"),
        "name": recipe.name,
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
        "quantization": recipe.get("quantization"),
        "context_length": recipe.get("data.context_length") or recipe.get("training.max_length"),
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
    trainer: Any, first_step: int, watch: dict[str, float], peak_memory: int, flops_per_token: float | None
) -> dict[str, Any]:
    """What the steps since `first_step` did, counted from the rows that were read.

    Args:
        trainer: One of ours, after `train()`.
        first_step: 0, or the step a resumed run went on from.
        watch: From `Stopwatch`.
        peak_memory: From `PeakMemory`, begun before the model was loaded.
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
            _set_back_high_water_mark()
            self.before = psutil.Process().memory_info().rss

    def bytes(self) -> int:
        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated() - self.before
        return max(_high_water_mark() - self.before, 0)


def _set_back_high_water_mark() -> None:
    # See proc(5): writing 5 makes VmHWM the memory of now.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _high_water_mark() -> int:
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    # macOS counts in bytes, and knows only the peak of the whole process.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
