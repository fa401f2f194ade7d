"""Where a causal language model keeps its decoder layers, by structure alone: also of a model without weights."""

from __future__ import annotations

from typing import Any


def decoder_layers(model: Any) -> str:
    """The name of the list of decoder layers, as in `model.layers` or `transformer.h`.

    Lists of experts, or of the parts of a layer, lie inside the layers, so of all lists it is the outermost, and the longest.

    Args:
        model: A causal language model of transformers, on any device.

    Raises:
        ValueError: it has none.
    """
    from torch import nn

    lists = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.ModuleList) and len(part)]
    if not lists:
        raise ValueError(f"no list of decoder layers was found in {type(model).__name__}")
    return min(lists, key=lambda each: (each[0].count("."), -len(each[1])))[0]
