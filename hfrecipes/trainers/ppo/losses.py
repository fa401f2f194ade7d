"""The clipped losses of PPO (Schulman et al. 2017, arXiv:1707.06347), token by token."""

from __future__ import annotations

import torch
from torch import Tensor


def policy_losses(logps: Tensor, old_logps: Tensor, advantages: Tensor, cliprange: float) -> tuple[Tensor, Tensor]:
    """`max(-A rho, -A clip(rho, 1 - eps, 1 + eps))` with `rho = exp(logp - old logp)` (equation 7).

    Args:
        logps: Log-probabilities of the chosen tokens, with gradient.
        old_logps: Those when the tokens were chosen.
        advantages: Of the same shape.
        cliprange: Epsilon.

    Returns:
        Losses, and booleans: where the clipped one counts, which has no gradient.
    """
    ratio = torch.exp(logps - old_logps)
    free = -advantages * ratio
    clipped = -advantages * ratio.clamp(1 - cliprange, 1 + cliprange)
    return torch.maximum(free, clipped), clipped > free


def value_losses(values: Tensor, old_values: Tensor, returns: Tensor, cliprange: float) -> tuple[Tensor, Tensor]:
    """`.5 max((V - R)^2, (clip(V, V_old - eps, V_old + eps) - R)^2)`.

    Args:
        values: With gradient.
        old_values: When the completion was made.
        returns: What they should be.
        cliprange: Epsilon.

    Returns:
        Losses, and booleans: where the clipped one counts.
    """
    near = torch.minimum(torch.maximum(values, old_values - cliprange), old_values + cliprange)
    free, clipped = (values - returns).square(), (near - returns).square()
    return 0.5 * torch.maximum(free, clipped), clipped > free
