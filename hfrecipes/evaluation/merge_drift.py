"""How far a merged model is from the base and adapter that it was made of, on real text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hfrecipes.evaluation.kl import last_logits, token_kl
from hfrecipes.models.mode import eval_mode


@dataclass(frozen=True, slots=True)
class Drift:
    """The distance of a merged model from the trained one, beside the distance that the adapter made.

    Args:
        kl: Mean KL(trained ‖ merged) per token, in nats.
        effect: Mean KL(trained ‖ base) per token: what the adapter does.
        largest: The largest difference between two logarithms of a probability.
        same_token: Share of the tokens at which both models expect the same one most.
        num_tokens: Tokens that were compared.
    """

    kl: float
    effect: float
    largest: float
    same_token: float
    num_tokens: int

    @property
    def share(self) -> float:
        """How much of what the adapter does the merge is off by."""
        return self.kl / self.effect if self.effect > 0 else float("inf")

    def is_within(self, tolerance: float, noise: float) -> bool:
        """Whether the drift is at most a share of the effect, or so small that it is rounding; false for one that is NaN."""
        return self.kl <= max(noise, tolerance * self.effect)


def log_probabilities(model: torch.nn.Module, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Log-probabilities of each next token in each row, float32 on the CPU, shape (tokens of the row, vocabulary)."""
    with eval_mode(model):
        return [last_logits(model, row, len(row)).float().log_softmax(-1).cpu() for row in rows]


def drift_between(
    trained: Sequence[torch.Tensor], base: Sequence[torch.Tensor], merged: Sequence[torch.Tensor]
) -> Drift:
    """Compares log-probabilities of the same rows from `log_probabilities`.

    Args:
        trained: Of the base with the adapter.
        base: Of the base alone. Entries that it lacks (its vocabulary was extended later) have no probability there.
        merged: Of the merged model.
    """
    mean = torch.cat([token_kl(one, other) for one, other in zip(trained, merged, strict=True)]).double().mean()
    effect = torch.cat([token_kl(one, other) for one, other in zip(trained, base, strict=True)]).double().mean()
    pairs = list(zip(trained, merged, strict=True))
    same = torch.cat([one.argmax(-1) == other.argmax(-1) for one, other in pairs])
    largest = max((one - other).abs().max().item() for one, other in pairs)
    # Rounding can leave a mean of nothing below zero.
    return Drift(max(0.0, mean.item()), max(0.0, effect.item()), largest, same.double().mean().item(), len(same))
