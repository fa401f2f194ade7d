"""Which drafted tokens stay, so that what is written is distributed as without drafts."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Verdict(NamedTuple):
    """The tokens that are written at one place of each row.

    Args:
        tokens: `(rows,)`.
        accepted: `(rows,)`, whether they are the drafted ones, so that the next draft may be looked at.
    """

    tokens: Tensor
    accepted: Tensor


def verify_greedy(scores: Tensor, drafted: Tensor | None = None) -> Verdict:
    """The most probable tokens; a draft stays where it is one (Stern et al. 2018, arXiv:1811.03115, section 3).

    Args:
        scores: `(rows, vocabulary)`, of the model, behind all logits processors.
        drafted: `(rows,)`; None behind the last draft.
    """
    tokens = scores.argmax(-1)
    return Verdict(tokens, torch.zeros_like(tokens, dtype=torch.bool) if drafted is None else tokens == drafted)


def verify_sampling(scores: Tensor, drafted: Tensor | None = None, proposed: Tensor | None = None) -> Verdict:
    """Tokens that are distributed as the model's own samples, whatever the drafts are.

    A draft `x` stays with probability `min(1, p(x) / q(x))`; where it does not, the token is drawn from what `p` has over `q`
    (Leviathan et al. 2023, arXiv:2211.17192, algorithm 1; Chen et al. 2023, arXiv:2302.01318, theorem 1).

    Args:
        scores: `(rows, vocabulary)`, logarithms of `p` up to a constant: of the model, behind all logits processors.
        drafted: `(rows,)`, drawn from `q`; None behind the last draft.
        proposed: `(rows, vocabulary)`, `q`: probabilities of a head.
    """
    wanted = scores.softmax(-1)
    if drafted is None or proposed is None:
        return Verdict(_draw(wanted), torch.zeros(len(scores), dtype=torch.bool, device=scores.device))
    place = drafted[:, None]
    chance = torch.rand_like(wanted[:, :1]) * proposed.gather(1, place)
    accepted = (chance < wanted.gather(1, place)).squeeze(1)
    rest = (wanted - proposed).clamp_min(0)
    # Where p and q are the same up to rounding, nothing is left over, and p itself is as good.
    rest = torch.where(rest.sum(-1, keepdim=True) > 0, rest, wanted)
    return Verdict(torch.where(accepted, drafted, _draw(rest)), accepted)


def _draw(probabilities: Tensor) -> Tensor:
    return torch.multinomial(probabilities, 1).squeeze(1)
