"""How far the policy is from its reference, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def kl_estimates(logps: Tensor, ref_logps: Tensor, estimator: str) -> Tensor:
    """Divergence at each sampled token, in nats (Schulman 2020, joschu.net/blog/kl-approx.html).

    Args:
        logps: Log-probabilities of the sampled tokens under the policy that sampled them.
        ref_logps: Those under the reference.
        estimator: `k1`: their difference, unbiased, may be negative; `k2`: half its square, biased, little variance; `k3`:
            `exp(-d) - 1 + d`, unbiased and never negative.
    """
    difference = logps - ref_logps
    if estimator == "k1":
        return difference
    if estimator == "k2":
        return 0.5 * difference.square()
    return torch.expm1(-difference) + difference


@dataclass
class KLController:
    """The coefficient of the penalty: fixed, or steered towards a target (Ziegler et al. 2019, arXiv:1909.08593, section 2.2).

    Args:
        coefficient: What each nat costs now.
        adaptive: Whether it is steered.
        target: Nats for each completion.
        horizon: Completions; the larger, the slower.
    """

    coefficient: float
    adaptive: bool = False
    target: float = 6.0
    horizon: int = 10_000

    def update(self, kl: float, completions: int) -> None:
        """`beta *= 1 + clip(KL / target - 1, -.2, .2) * n / horizon`.

        Args:
            kl: Mean over the completions of a rollout, in nats for each completion.
            completions: Of that rollout.
        """
        if self.adaptive:
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coefficient *= 1 + error * completions / self.horizon
