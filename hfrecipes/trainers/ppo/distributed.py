"""Models whose weights are split over processes: whole while completions are sampled, and frozen ones beside the policy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from hfrecipes.compat import trl_prepare_deepspeed, trl_prepare_fsdp, trl_unwrap_for_generation


@contextlib.contextmanager
def gathered_for_generation(trainer: Any) -> Iterator[Any]:
    """The policy as one model: its parts are fetched once, not for each token.

    Args:
        trainer: A transformers Trainer.

    Yields:
        What to call.
    """
    if trainer.is_deepspeed_enabled:
        with trl_unwrap_for_generation(trainer.model_wrapped, trainer.accelerator) as model:
            yield model
        return
    if trainer.is_fsdp_enabled:
        with _kept_whole(trainer.model):
            yield trainer.model
        return
    yield trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)


@contextlib.contextmanager
def _kept_whole(model: torch.nn.Module) -> Iterator[None]:
    """FSDP2: layers that were gathered by the first token's pass stay whole until the last one's."""
    from torch.distributed.fsdp import FSDPModule

    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def prepare_frozen(model: Any, trainer: Any) -> Any:
    """A model that is not trained, laid out as the policy is.

    Args:
        model: On the CPU, or where it was loaded.
        trainer: A transformers Trainer.
    """
    if trainer.is_deepspeed_enabled:
        return trl_prepare_deepspeed(model, trainer.accelerator)
    if trainer.is_fsdp_enabled:
        return trl_prepare_fsdp(model, trainer.accelerator)
    return trainer.accelerator.prepare_model(model, evaluation_mode=True)
