"""What each head of multi-token prediction is to predict, and what it counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hfrecipes.objectives.linear_cross_entropy import IGNORED
from hfrecipes.objectives.settings import Curriculum


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


def head_weights(
    num_future_tokens: int, loss_weight: float, progress: float, curriculum: Curriculum = "none"
) -> list[float]:
    """What the loss of each head counts; the model's own counts 1.

    A forward curriculum begins with next-token prediction and adds a head after each k-th part of the training; a reverse one
    begins with all and takes one away (Aynetdinov and Akbik 2025, arXiv:2505.22757).

    Args:
        num_future_tokens: Heads, k.
        loss_weight: Of each head but the first.
        progress: Of the training, in [0, 1].
        curriculum: How many heads take part.
    """
    stage = min(math.floor(progress * num_future_tokens), num_future_tokens - 1)
    taking_part = {"none": num_future_tokens, "forward": stage + 1, "reverse": num_future_tokens - stage}[curriculum]
    return [1.0, *(loss_weight if head < taking_part else 0.0 for head in range(1, num_future_tokens))]


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
