"""Heads that a training passes over, told of."""

from __future__ import annotations

import warnings
from typing import Any

import torch


def warn_of_idle_heads(model: Any, outputs: Any) -> None:
    """Warns where heads are to be trained and a step's loss leaves them out.

    TRL's trainers put a forward pass of their own onto the model object, which makes a loss of the first head alone (1.16).
    Python shows it once.

    Args:
        model: With heads, called with labels.
        outputs: What it gave.
    """
    if not (model.training and torch.is_grad_enabled()) or getattr(outputs, "head_losses", None) is not None:
        return
    if any(weight.requires_grad for weight in model.mtp_heads.parameters()):
        warnings.warn(
            "the loss of this training leaves the further heads out, which stay as they are: train them by a recipe, by "
            "MTPTrainer, or under TRL by hfrecipes.trainers.mtp.MTPSFTTrainer; or freeze them by "
            "model.mtp_heads.requires_grad_(False)",
            stacklevel=3,
        )
