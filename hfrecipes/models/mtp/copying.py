"""A layer once more, as one that can be trained: its weights whole, and nothing of what others hung onto it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn


def trainable_copy(module: nn.Module) -> nn.Module:
    """A copy that shares nothing with the module, hooks included.

    Weights that bitsandbytes quantised, in 4 or 8 bits, are there in the type in which the module's other weights are: the one
    of the hidden states that pass through, so that the copy runs with and without autocast. An adapter is merged into
    the weights that it adapts.

    Args:
        module: A decoder layer, or a norm.
    """
    made = copy.deepcopy(module)
    for part in made.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
        part._backward_hooks.clear()
    _replace(made, _without_adapter)
    dtype = next((weight.dtype for weight in made.parameters() if type(weight) is nn.Parameter), torch.float32)
    _replace(made, lambda part: _dequantised(part, dtype) if _is_quantised(part) else part)
    return made


def _replace(module: nn.Module, other: Callable[[nn.Module], nn.Module]) -> None:
    """Puts another module in the place of each inner one."""
    for name, child in list(module.named_children()):
        setattr(module, name, other(child))
        _replace(getattr(module, name), other)


def _without_adapter(module: nn.Module) -> nn.Module:
    """The layer inside an adapted one, with what the adapter adds; peft is not imported for models without."""
    if not (hasattr(module, "get_base_layer") and hasattr(module, "merge")):
        return module
    module.merge()
    return module.get_base_layer()


def _is_quantised(module: nn.Module) -> bool:
    return type(getattr(module, "weight", None)).__name__ in ("Params4bit", "Int8Params")


def _dequantised(module: Any, dtype: torch.dtype) -> nn.Linear:
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    with torch.no_grad():
        # The scales of 8-bit weights move into the layer's state with its first forward pass.
        weight = dequantize_bnb_weight(module.weight, getattr(module, "state", None)).to(dtype)
    made = nn.Linear(module.in_features, module.out_features, bias=False, device="meta")
    made.weight = nn.Parameter(weight)
    if module.bias is not None:
        made.bias = nn.Parameter(module.bias.detach().to(dtype))
    return made
