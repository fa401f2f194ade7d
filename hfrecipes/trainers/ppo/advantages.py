"""Generalised advantage estimation (Schulman et al. 2015, arXiv:1506.02438, equations 11 to 16)."""

from __future__ import annotations

import torch
from torch import Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns, token by token.

    `delta_t = r_t + gamma V_{t+1} - V_t`, `A_t = delta_t + gamma lambda A_{t+1}`, `R_t = A_t + V_t`, where t + 1 is the next
    token whose mask is true, and all is 0 after the last one: a completion that was cut ends there, too.

    Args:
        rewards: `(rows, tokens)`; those of masked tokens are not read.
        values: `(rows, tokens)`, of the state before each token; those of masked tokens are not read.
        mask: `(rows, tokens)` booleans: true for the tokens that the policy chose.
        gamma: Discount.
        lam: 0 trusts the values, 1 the rewards alone.

    Returns:
        Advantages (not whitened) and returns, both `(rows, tokens)`, 0 where the mask is false.
    """
    advantages = torch.zeros_like(values)
    later_advantage = torch.zeros_like(values[:, 0])
    later_value = torch.zeros_like(later_advantage)
    for token in reversed(range(values.shape[1])):
        here, value = mask[:, token], values[:, token]
        advantage = rewards[:, token] + gamma * later_value - value + gamma * lam * later_advantage
        later_advantage = torch.where(here, advantage, later_advantage)
        later_value = torch.where(here, value, later_value)
        advantages[:, token] = advantage
    advantages = torch.where(mask, advantages, 0.0)
    return advantages, torch.where(mask, advantages + values, 0.0)
