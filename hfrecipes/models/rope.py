"""Rotary positions of a loaded model: changed together with its config, and held against it.

A rotary module computes its frequencies once, from the config it is built with. Editing the config of a live model leaves them
as they were: the model then trains with positions that the saved config does not tell of, and whoever loads it gets another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from hfrecipes.models.rope_config import RopeChange, change_config

_FREQUENCIES = re.compile(r"inv_freq$")
# These recompute their frequencies for the length they meet; what they start from keeps still.
_MOVING = ("dynamic", "longrope")
_ALIBI = ("bloom", "mpt")
_POSITION_TABLE = re.compile(r"(^|\.)(wpe|embed_positions|position_embeddings?|pos_embed\w*)$")
# The same arithmetic on the same numbers: any difference beyond rounding is another frequency.
_TOLERANCE = 1e-6


def change_rope(model: nn.Module, change: RopeChange) -> None:
    """Changes config and rotary modules of a model in place; hooks on the modules stay.

    Args:
        model: A transformers model.
        change: What to change.

    Raises:
        ValueError: where the model has no rotary positions that can be changed, saying what it has, or its config refuses.
    """
    if next(_rotary_modules(model), None) is None:
        raise ValueError(_other_positions(model))
    change_config(model.config, change)
    rebuild_rotary(model)


def rebuild_rotary(model: nn.Module) -> None:
    """Gives every rotary module the frequencies that the model's config stands for."""
    for _, module, config in _rotary_modules(model):
        _renew(module, _built(module, config))


def check_rotary(model: nn.Module) -> list[str]:
    """Holds the live frequencies of a model against those that its config, saved and loaded, would give.

    Args:
        model: A transformers model, or a `PeftModel` around one; nothing about it is changed.

    Returns:
        One sentence for each rotary module that differs; none where all agree, or where there is none.
    """
    return [
        f"{name}: {fault}"
        for name, module, config in _rotary_modules(model)
        if (fault := _difference(module, _built(module, config)))
    ]


def _rotary_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module, Any]]:
    """Name and module of each rotary embedding, with the part of the model's config that it is built from."""
    parts = {type(part): part for part in _configs(model.config)}
    for name, module in model.named_modules():
        has_frequencies = any(_FREQUENCIES.search(key) for key, _ in module.named_buffers(recurse=False))
        part = parts.get(type(getattr(module, "config", None)))
        if has_frequencies and getattr(part, "rope_parameters", None):
            yield name, module, part


def _configs(config: Any) -> Iterator[Any]:
    """A config and those it is composed of."""
    yield config
    for name in getattr(config, "sub_configs", {}):
        if (inner := getattr(config, name, None)) is not None:
            yield from _configs(inner)


def _built(module: nn.Module, config: Any) -> nn.Module:
    """A rotary module as a model that is loaded from this config's file would have it."""
    saved = type(config).from_dict(config.to_dict())
    with torch.device("cpu"):
        return type(module)(saved)


def _renew(module: nn.Module, built: nn.Module) -> None:
    device = next(module.buffers()).device
    config = module.config
    for key in [key for key in vars(module) if not key.startswith("_") and key != "training"]:
        delattr(module, key)
    module.__dict__.update({key: value for key, value in vars(built).items() if not key.startswith("_")})
    # The module goes on reading the model's own config, not the copy it was built from.
    module.config = config
    for key, buffer in built.named_buffers(recurse=False):
        module.register_buffer(key, buffer.to(device), persistent=False)


def _difference(live: nn.Module, built: nn.Module) -> str | None:
    frequencies = dict(live.named_buffers(recurse=False))
    for key, expected in built.named_buffers(recurse=False):
        if not _FREQUENCIES.search(key) or (_moves(built, key) and not key.endswith("original_inv_freq")):
            continue
        found = frequencies[key]
        if found.dtype != expected.dtype:
            kind = str(found.dtype).removeprefix("torch.")
            return f"{key} was rounded to {kind}, in which far positions blur into one another"
        if found.shape != expected.shape or not torch.allclose(found.cpu(), expected, rtol=_TOLERANCE, atol=0):
            waves = f"its longest wave is {_longest_wave(found)} tokens, by the config {_longest_wave(expected)}"
            return f"{key} is not what the config stands for: {waves}"
    return _other_scaling(live, built)


def _moves(module: nn.Module, key: str) -> bool:
    """Whether a buffer follows the length that the model meets."""
    types = module.rope_type
    if isinstance(types, dict):
        types = next((one for kind, one in types.items() if key.startswith(kind)), "default")
    return types in _MOVING


def _other_scaling(live: nn.Module, built: nn.Module) -> str | None:
    """YaRN scales the attention, too, and a factor can differ where the frequencies do not."""
    for key, expected in vars(built).items():
        if key.endswith("attention_scaling") and abs(getattr(live, key) - expected) > _TOLERANCE * abs(expected):
            return f"{key} is {getattr(live, key):.6g}, by the config {expected:.6g}"
    return None


def _longest_wave(frequencies: torch.Tensor) -> str:
    slowest = frequencies.float()[frequencies > 0].min().item()
    return f"{2 * math.pi / slowest:,.0f}"


def _other_positions(model: nn.Module) -> str:
    """What a model without changeable rotary positions has in their place, and what to do then."""
    config = model.config.get_text_config()
    kind = config.model_type
    if getattr(config, "alibi", False) or kind in _ALIBI:
        return f"{kind} has ALiBi, a bias by distance that knows no longest row: set data.context_length alone"
    positions = getattr(config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and _POSITION_TABLE.search(name):
            return (
                f"{kind} learnt a vector for each of its {positions or module.num_embeddings} positions ({name}) and "
                "has none for others: start from a model with rotary positions, such as llama, qwen3 or gpt_neox"
            )
    return f"{kind} has no rotary positions that follow rope_parameters: start from another, such as llama or qwen3"
