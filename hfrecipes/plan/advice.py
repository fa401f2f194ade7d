"""Whether a run fits the device, and what to change where it does not."""

from __future__ import annotations

from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.plan.footprint import Footprint
from hfrecipes.plan.parameters import ParameterCount
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.resolve import BatchSplit

# Above this share of a device's memory, fragmentation and the libraries' own needs decide whether a run survives.
TIGHT = 0.9


# Gloeckle et al. (2024, arXiv:2404.19737, figure 3): with 0.3 and 0.6 billion parameters four heads write worse code than one,
# with 1.3 billion better.
HELPED_BY_HEADS = 1_000_000_000


def heads_problems(recipe: Recipe, counts: ParameterCount) -> list[Problem]:
    """A warning where further heads would harm the model itself: small ones that are trained whole."""
    heads = mtp_settings(recipe)
    if heads is None or heads.frozen_trunk or recipe.get("adapter") or counts.total >= HELPED_BY_HEADS:
        return []
    fault = "below a billion parameters multi-token prediction makes the model itself worse, as far as is known"
    fix = "take it for the speed of decoding; else say objective: {name: clm}, or frozen_trunk for a finished model"
    return [Problem(recipe.where("objective"), fault, fix, "warning")]


def memory_problems(
    recipe: Recipe, memory: Footprint, hardware: Hardware, world_size: int, batch: BatchSplit
) -> list[Problem]:
    """A warning where the run needs more than nine tenths of the device's memory."""
    # Processes on a CPU share the machine's memory.
    room = hardware.memory_bytes / (world_size if hardware.device == "cpu" else 1)
    if not room or memory.total <= TIGHT * room:
        return []
    verdict = "will not fit" if memory.total > room else "will barely fit"
    fault = f"{memory.total / 2**30:.1f} GiB {verdict} in the {room / 2**30:.1f} GiB of {hardware.name}"
    return [Problem(recipe.where("training"), fault, _remedy(recipe, memory, room, world_size, batch), "warning")]


def _remedy(recipe: Recipe, memory: Footprint, room: float, world_size: int, batch: BatchSplit) -> str:
    """What to change first, by what would help most."""
    advice = []
    moving = memory.parts["activations"] + memory.parts["logits"]
    if moving > memory.total - moving:
        if not recipe.get("training.gradient_checkpointing"):
            advice.append("training.gradient_checkpointing: true")
        if batch.micro_batch_size > 1:
            advice.append(f"training.per_device_train_batch_size: {max(1, batch.micro_batch_size // 2)}")
        if memory.parts["logits"] > moving / 2:
            advice.append("training.use_liger_kernel: true, which never builds the logits")
    if world_size > 1 and memory.sharded(world_size) < TIGHT * room:
        advice.append(f"--launcher fsdp2: {memory.sharded(world_size) / 2**30:.1f} GiB a device")
    if recipe.kind != "pretrain" and not recipe.get("adapter"):
        advice.append("an adapter: section (LoRA)")
    elif recipe.kind != "pretrain" and not recipe.get("quantization"):
        advice.append("a quantization: section (4 bits)")
    if not advice:
        advice.append("a shorter row, a smaller model, or more devices")
    return "try " + "; ".join(advice)
