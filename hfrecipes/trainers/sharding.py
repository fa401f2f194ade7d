"""FSDP2: whether a model is in parts, and which parts are gathered with the whole model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed
from torch import nn


def is_sharded(model: nn.Module) -> bool:
    """Whether FSDP2 has divided a model, or part of it."""
    if not torch.distributed.is_available():
        return False
    from torch.distributed.fsdp import FSDPModule

    return any(isinstance(module, FSDPModule) for module in model.modules())


def give_idle_weights_a_state(optimizer: Any) -> None:
    """Zeros for weights that have not had a gradient yet, in the form of the state that the others have.

    Under FSDP2 a saved state can only be loaded again where each weight has one. An optimizer that comes to such a weight for the
    first time would begin with these very zeros.

    Args:
        optimizer: Of torch, whose state is counts and tensors of the shapes of the weights, as those of Adam and SGD.
    """
    for group in optimizer.param_groups:
        known = next((weight for weight in group["params"] if optimizer.state.get(weight)), None)
        for weight in group["params"] if known is not None else ():
            if weight.requires_grad and not optimizer.state.get(weight):
                optimizer.state[weight] = {
                    name: torch.zeros_like(weight if value.shape == known.shape else value)
                    for name, value in optimizer.state[known].items()
                    if isinstance(value, torch.Tensor)
                }


@contextlib.contextmanager
def kept_with_root(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Within it, FSDP2 divides a model without making parts of their own of these modules.

    accelerate 1.15 shards the input embeddings, and the final norm with the output matrix, apart from the root. Such a part is
    let go as soon as the gradient of its first input is there. Heads give the norm a second input and multiply with the
    output matrix outside of its forward pass, so their gradients come later, to weights that are gone: torch 2.13 dies of a
    segmentation fault on a CPU. What belongs to the root is kept until the end of the backward pass.

    Args:
        modules: Whatever is used like that.
    """
    if not torch.distributed.is_available():
        yield
        return
    from torch.distributed import fsdp

    kept, shard = {id(module) for module in modules}, fsdp.fully_shard

    def shard_others(module: Any, *args: Any, **kwargs: Any) -> Any:
        parts = module if isinstance(module, list | tuple) else [module]
        return module if any(id(part) in kept for part in parts) else shard(module, *args, **kwargs)

    # accelerate takes the function from its module whenever it divides a model.
    fsdp.fully_shard = shard_others
    try:
        yield
    finally:
        fsdp.fully_shard = shard
