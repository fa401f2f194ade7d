"""The loss of reward models: pure functions of the rewards that a model gives to the answers of a prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid

# Where a prompt has fewer answers than the widest of its batch.
NO_ANSWER = -1


@dataclass(frozen=True, slots=True)
class RankingLosses:
    """Each prompt's means over its pairs of a better and a worse answer; all of shape (prompts,).

    Args:
        losses: What is trained on.
        accuracies: Share of the pairs in which the better answer is rewarded more.
        margins: By how much it is.
    """

    losses: torch.Tensor
    accuracies: torch.Tensor
    margins: torch.Tensor


def ranking_losses(
    rewards: torch.Tensor, ranks: torch.Tensor, margins: torch.Tensor | None = None, centring: float = 0.0
) -> RankingLosses:
    """`-log sigmoid(r_better - r_worse - margin)`, averaged over all pairs of each prompt, so that each prompt counts once.

    With K answers in an order that is K (K - 1) / 2 pairs, and one forward pass for each answer (Ouyang et al. 2022,
    arXiv:2203.02155, equation 1); two answers give the loss of Bradley and Terry. Tied answers make no pair. The margin is that
    of Llama 2 (Touvron et al. 2023, arXiv:2307.09288, equation 2).

    Args:
        rewards: One for each answer, prompt after prompt, shape (answers,).
        ranks: The place of each answer, 0 for the best, -1 where there is none: shape (prompts, most answers). Each prompt
            has answers of two ranks or more.
        margins: By how much the better one should be ahead, shape (prompts,); 0 by default.
        centring: What the squared sum of a pair's rewards counts, which keeps rewards around zero (Eisenstein et al. 2023,
            arXiv:2312.09244).
    """
    there = ranks != NO_ANSWER
    table = rewards.new_zeros(ranks.shape)
    table[there] = rewards
    better, worse = table[:, :, None], table[:, None, :]
    pairs = (ranks[:, :, None] < ranks[:, None, :]) & there[:, :, None] & there[:, None, :]
    ahead = better - worse
    wanted = 0.0 if margins is None else margins[:, None, None]
    losses = -logsigmoid(ahead - wanted)
    if centring:
        losses = losses + centring * (better + worse) ** 2
    return RankingLosses(
        _mean(losses, pairs), _mean((ahead > 0).to(rewards.dtype), pairs).detach(), _mean(ahead, pairs).detach()
    )


def _mean(values: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Over the pairs of each prompt, (prompts, answers, answers) to (prompts,)."""
    # Not a product with the mask: what is no pair may be infinite, and has no gradient this way.
    return values.masked_fill(~pairs, 0.0).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2))
