"""Whether the weights of a model are numbers that a model can have."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

# The largest number of half precision. No trained weight comes near it; one step at a rate of 1e6 goes beyond.
LARGEST = 65504.0


def poisoned_weight(model: Any) -> str | None:
    """The first weight that is not finite, or that is trained and larger than half precision can hold.

    Args:
        model: A module; of sharded weights this process's part is looked at.

    Returns:
        What is wrong, as in "model.norm.weight holds nan"; None where nothing is.
    """
    packed = set(_packed(model))
    named = [
        (name, weight, part)
        for name, weight in model.named_parameters()
        if name not in packed and (part := _part(weight)) is not None
    ]
    extremes = [torch.stack(torch.aminmax(part)).abs().max().to(torch.float32) for _, _, part in named]
    # One wait for the device instead of one for each weight.
    by_device: dict[torch.device, list[int]] = {}
    for index, extreme in enumerate(extremes):
        by_device.setdefault(extreme.device, []).append(index)
    found = {}
    for indices in by_device.values():
        found.update(zip(indices, torch.stack([extremes[index] for index in indices]).tolist(), strict=True))
    for index, (name, weight, part) in enumerate(named):
        if not math.isfinite(found[index]):
            return f"{name} holds {_kind(part)}"
        if weight.requires_grad and found[index] > LARGEST:
            return f"{name} holds {found[index]:.3g}, more than half precision can ({LARGEST:g})"
    return None


def _packed(model: Any) -> Iterator[str]:
    """Names of weights in four bits. Stored as floats, as FSDP needs them, their bytes read as any number, and as none."""
    for name, module in model.named_modules():
        if hasattr(module, "quant_state"):
            yield f"{name}.weight"


def _part(weight: torch.Tensor) -> torch.Tensor | None:
    """What this process holds of a weight; None for what has no floats to look at (quantized, elsewhere)."""
    part = weight.detach()
    part = part.to_local() if hasattr(part, "to_local") else part
    fit = part.is_floating_point() and part.element_size() > 1 and part.numel() > 0 and part.device.type != "meta"
    return part if fit else None


def _kind(part: torch.Tensor) -> str:
    return "nan" if bool(part.isnan().any()) else "infinity"
