"""From scores of whole completions to rewards of tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_TINY = 1e-8


def response_lengths(tokens: Tensor, stop_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Where completions end.

    Args:
        tokens: `(rows, tokens)` of the completions alone: a stop token in the prompt ends nothing.
        stop_ids: `(stops,)` tokens that end a completion; may be none.

    Returns:
        `(rows,)` lengths, the stop token included; and booleans: whether there was one.
    """
    stops = torch.isin(tokens, stop_ids)
    finished = stops.any(1)
    first = stops.int().argmax(1) + 1
    return torch.where(finished, first, tokens.shape[1]), finished


def settle_missing_eos(scores: Tensor, finished: Tensor, penalty: float | None, replacement: float | None) -> Tensor:
    """Scores of completions that do not end are lowered, or replaced: else endless ones may pay.

    Args:
        scores: `(rows,)`.
        finished: `(rows,)` booleans.
        penalty: Is taken away.
        replacement: Takes the place of the score.
    """
    if replacement is not None:
        return torch.where(finished, scores, replacement)
    return torch.where(finished, scores, scores - (penalty or 0.0))


def token_rewards(
    scores: Tensor, kl: Tensor, mask: Tensor, coefficient: float, token_scores: Tensor | None = None
) -> Tensor:
    """`r_t = -beta KL_t`, and the score at the last token whose mask is true: at padding, gamma and lambda would decay it.

    Args:
        scores: `(rows,)`.
        kl: `(rows, tokens)` estimates in nats.
        mask: `(rows, tokens)` booleans; at least one is true in each row.
        coefficient: Beta.
        token_scores: `(rows, tokens)`, added where it is given.
    """
    rewards = -coefficient * kl
    if token_scores is not None:
        rewards = rewards + token_scores
    rewards = torch.where(mask, rewards, 0.0)
    places = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, places, -1).amax(1, keepdim=True)
    return rewards.scatter_add(1, last, scores[:, None].to(rewards.dtype))


@dataclass
class ScoreNormalizer:
    """Brings scores to mean 0 and deviation 1, so that the KL coefficient means the same for each reward.

    Args:
        kind: `none`; `reference`: by the first rollout, which the reference made; `running`: by all rollouts so far.
        count: Scores that were seen.
        mean: Of these.
        squares: Their summed squared distances from the mean (Welford 1962).
    """

    kind: str = "none"
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def __call__(self, scores: Tensor) -> Tensor:
        """Scores `(rows,)` of all processes, normalised; these are seen first where they are to be."""
        if self.kind == "none":
            return scores
        if self.kind == "running" or self.count == 0:
            self._see(scores.double())
        deviation = math.sqrt(self.squares / self.count)
        # Scores that are all alike tell no scale.
        return (scores - self.mean) / (deviation if deviation > _TINY else 1.0)

    def _see(self, scores: Tensor) -> None:
        count, mean = len(scores), float(scores.mean())
        squares = float((scores - mean).square().sum())
        total, distance = self.count + count, mean - self.mean
        self.squares += squares + distance**2 * self.count * count / total
        self.mean += distance * count / total
        self.count = total
