"""Statistics of what is not padding."""

from __future__ import annotations

import torch
from torch import Tensor

# Added to a variance before its root is divided by.
_EPSILON = 1e-8


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the values whose mask is true; 0 where there is none.

    Args:
        values: Of any shape.
        mask: Booleans of that shape.
    """
    return (values * mask).sum() / mask.sum().clamp_min(1)


def masked_variance(values: Tensor, mask: Tensor) -> Tensor:
    """Variance around the masked mean, divided by the number of values."""
    return masked_mean((values - masked_mean(values, mask)).square(), mask)


def masked_whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Brings values to deviation 1, and to mean 0 where it is asked for; padding becomes 0.

    Args:
        values: `(rows, tokens)` of all processes: what one of them holds has another mean and another deviation.
        mask: Booleans of that shape.
        shift_mean: Whether the mean is taken away; else it is kept.
    """
    fine = values.double()
    mean = masked_mean(fine, mask)
    whitened = (fine - mean) * torch.rsqrt(masked_variance(fine, mask) + _EPSILON)
    if not shift_mean:
        whitened = whitened + mean
    return torch.where(mask, whitened, 0.0).to(values.dtype)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """`1 - Var(returns - values) / Var(returns)`: 1 for a perfect critic, 0 for one that knows the mean; 0 without variance."""
    values, returns = values.double(), returns.double()
    total = masked_variance(returns, mask)
    left = masked_variance(returns - values, mask)
    return torch.where(total > 0, 1 - left / total.clamp_min(1e-300), 0.0)
