"""Evaluation mode that leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def eval_mode(model: torch.nn.Module) -> Iterator[None]:
    """Switches dropout off and gradients with it; afterwards every module is in the mode it was in.

    Not `model.train()` at the end: that would wake the dropout of modules that were in eval mode on purpose. And not
    `torch.inference_mode`: buffers that a forward pass builds then (rotary tables) cannot be trained through later.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
