"""The loss of ORPO: a pure function of the log-probabilities that a model gives to chosen and rejected answers."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid


def odds_ratio_losses(chosen: torch.Tensor, rejected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`-log sigmoid(log odds(chosen) - log odds(rejected))`, with `odds(p) = p / (1 - p)` of the mean probability of a token.

    That is the second term of equation 6 of Hong et al. 2024 (arXiv:2403.07691); it stands beside the loss of the chosen answer.

    Args:
        chosen: Mean log-probabilities of the tokens of the chosen answers, `(pairs,)`, each below 0.
        rejected: The same of the rejected ones.

    Returns:
        The losses, and the log odds ratios, both `(pairs,)`.
    """
    ratios = _log_odds(chosen) - _log_odds(rejected)
    return -logsigmoid(ratios), ratios


def _log_odds(log_probabilities: torch.Tensor) -> torch.Tensor:
    # A model that is sure of every token would give log(0); its gradient would be no number.
    bounded = log_probabilities.float().clamp(max=-1e-6)
    return bounded - torch.log(-torch.expm1(bounded))
