"""What each head of multi-token prediction is to predict, and what it counts."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hfrecipes.data.mixture.weights import Weight
from hfrecipes.objectives.linear_cross_entropy import IGNORED
from hfrecipes.objectives.settings import MTPSettings


def head_targets(labels: Tensor, num_future_tokens: int, position_ids: Tensor | None = None) -> Tensor:
    """The token that each head predicts at each position: head k (from 1) the k-th token after it.

    No target lies in another document than its position: where rows are packed, positions count on from a token to its
    k-th follower only within one document.

    Args:
        labels: `(batch, tokens)`, the ids themselves, -100 where nothing is learnt; not shifted, as for transformers' models.
        num_future_tokens: Heads, the model's own included.
        position_ids: `(batch, tokens)` or `(1, tokens)`; None where every row is one document.

    Returns:
        `(num_future_tokens, batch, tokens)`, -100 where a head has no target.
    """
    tokens = labels.shape[1]
    targets = labels.new_full((num_future_tokens, *labels.shape), IGNORED)
    for ahead in range(1, min(num_future_tokens, tokens - 1) + 1):
        targets[ahead - 1, :, :-ahead] = labels[:, ahead:]
        if position_ids is not None:
            apart = position_ids[:, ahead:] - position_ids[:, :-ahead] != ahead
            targets[ahead - 1, :, :-ahead].masked_fill_(apart, IGNORED)
    return targets


def head_weights(settings: MTPSettings, progress: float) -> list[float]:
    """What the loss of each head counts; the model's own counts 1.

    A forward curriculum begins with next-token prediction and adds a head after each k-th part of the training; a reverse one
    begins with all and takes one away (Aynetdinov and Akbik 2025, arXiv:2505.22757).

    Args:
        settings: Number of heads, k, their weights and their curriculum.
        progress: Of the training, in [0, 1].
    """
    heads = settings.num_future_tokens
    stage = min(math.floor(progress * heads), heads - 1)
    taking_part = {"none": heads, "forward": stage + 1, "reverse": heads - stage}[settings.curriculum]
    further = enumerate(_further_weights(settings, progress), start=1)
    return [1.0, *(weight if head < taking_part else 0.0 for head, weight in further)]


def _further_weights(settings: MTPSettings, progress: float) -> list[float]:
    if settings.is_by_head:
        return [float(weight) for weight in settings.loss_weight]
    weight = Weight.of(settings.loss_weight, settings.interpolation).at(np.array([progress]))
    return [float(weight[0])] * (settings.num_future_tokens - 1)


def some_head_rests(settings: MTPSettings) -> bool:
    """Whether a head has the weight 0 at some time; it is not run then, and gets no gradient."""
    if settings.curriculum != "none":
        return True
    if settings.is_by_head:
        return 0 in settings.loss_weight
    return any(weight == 0 for _, weight in Weight.of(settings.loss_weight).points)


def row_weights(
    targets: Tensor, weights: list[float], num_items: Tensor | int | None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """What each target counts in the one loss: its head's weight, over the number of tokens that the batch is divided by.

    All heads are divided by the same number, so that micro-batches, processes and one large batch give the same gradient.

    Args:
        targets: From `head_targets`.
        weights: By head.
        num_items: Tokens with a loss in the whole optimizer step, as the Trainer counts them; None for the first head's
            targets of this batch.
        dtype: Of the result.

    Returns:
        Of the shape of the targets.
    """
    divisor = (targets[0] != IGNORED).sum() if num_items is None else num_items
    divisor = torch.as_tensor(divisor, dtype=dtype, device=targets.device).clamp_min(1)
    by_head = torch.tensor(weights, dtype=dtype, device=targets.device) / divisor
    return by_head[:, None, None].expand(targets.shape)


def head_sums(losses: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the losses of each head, and the number of its own targets: `(heads,)` each."""
    return losses.reshape(len(targets), -1).sum(1), (targets != IGNORED).reshape(len(targets), -1).sum(1)
