"""Log-probabilities and entropies straight from hidden states, in chunks: logits of all tokens never exist at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

# Logits of a chunk: 2**17 numbers are 512 KiB in float32, which a core's own cache holds; of a vocabulary of 1,024 they take
# two thirds of the time of 4 MiB. Below 64 rows the product waits for its matrix, which is read anew for each chunk.
_CHUNK_LOGITS, _CHUNK_ROWS = 2**17, 64
# Derivatives by the logits are kept for the gradient of the output matrix where the vocabulary is no wider than so many hidden
# states: half of the 34 bytes a layer keeps for each number of a state (Korthikanti et al. 2022, arXiv:2205.05198, equation 1).
_KEPT_WIDTHS = 8


def linear_token_scores(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each token, and entropy of the distribution it was drawn from.

    Logits are `softcap(scale * (hidden @ weight.T + bias)) / temperature`. What is kept for the gradient is of the size of
    `hidden`: a log-probability's derivative by its hidden state is known as soon as it is computed. Where `weight` is trained,
    logits are made a second time, unless the vocabulary is so small that derivatives by them are no burden.

    Args:
        hidden: `(tokens, width)`.
        weight: `(vocabulary, width)`.
        tokens: `(tokens,)` int64.
        bias: `(vocabulary,)`.
        softcap: Gemma's: logits become `softcap * tanh(logits / softcap)`.
        scale: Granite's and Cohere's: logits are multiplied by it, before the softcap.
        temperature: Of sampling.

    Returns:
        Both `(tokens,)` in float32 or finer; the entropies, in nats, have no gradient.
    """
    # Asked here: without gradient, what is trained is still said to need one inside.
    keeps = torch.is_grad_enabled() and len(weight) <= _KEPT_WIDTHS * hidden.shape[1]
    return _LinearTokenScores.apply(hidden, weight, bias, tokens, softcap, scale, temperature, keeps)


def chunked_token_scores(
    hidden: Tensor, output_logits: Callable[[Tensor], Tensor], tokens: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The same through a function that gives the logits, whatever is inside it (an adapter, quantised weights).

    Each chunk is computed twice where there is a gradient: its logits are thrown away, and made again for it.

    Args:
        hidden: `(tokens, width)`.
        output_logits: From `(chunk, width)` to `(chunk, vocabulary)`, softcap and scale included, temperature not.
        tokens: `(tokens,)`.
        temperature: Of sampling.
    """

    def of_chunk(part: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        return scores_of_logits(_fine(output_logits(part)) / temperature, wanted)

    with torch.no_grad():
        vocabulary = output_logits(hidden[:1]).shape[-1]
    size = _chunk_rows(vocabulary)
    keep = torch.is_grad_enabled()
    parts = [
        checkpoint(of_chunk, *chunk, use_reentrant=False) if keep else of_chunk(*chunk)
        for chunk in zip(hidden.split(size), tokens.split(size), strict=True)
    ]
    return torch.cat([logps for logps, _ in parts]), torch.cat([entropies for _, entropies in parts])


def scores_of_logits(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The same of logits that are there.

    Args:
        logits: `(tokens, vocabulary)` in float32 or finer, divided by the temperature.
        tokens: `(tokens,)`.
    """
    normaliser = logits.logsumexp(1)
    with torch.no_grad():
        entropies = normaliser - torch.linalg.vecdot(torch.softmax(logits, 1), logits)
    return logits.gather(1, tokens[:, None])[:, 0] - normaliser, entropies


class _LinearTokenScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        tokens: Tensor,
        softcap: float | None,
        scale: float,
        temperature: float,
        keeps: bool,
    ) -> tuple[Tensor, Tensor]:
        settings = softcap, scale, temperature
        wants_hidden, *wants_parameters = ctx.needs_input_grad[:3]
        kept: list[Tensor] = []
        fine = torch.promote_types(hidden.dtype, torch.float32)
        logps, entropies = (torch.empty(len(hidden), dtype=fine, device=hidden.device) for _ in range(2))
        slopes = torch.empty_like(hidden) if wants_hidden else None
        for start in range(0, len(hidden), _chunk_rows(len(weight))):
            rows = slice(start, start + _chunk_rows(len(weight)))
            logits, squashed = _logits(hidden[rows], weight, bias, *settings)
            chosen = logits.gather(1, tokens[rows, None])
            normaliser = logits.logsumexp(1, keepdim=True)
            logps[rows] = (chosen - normaliser)[:, 0]
            shares = torch.exp(logits - normaliser)
            entropies[rows] = normaliser[:, 0] - torch.linalg.vecdot(shares, logits)
            if wants_hidden:
                slope = _by_product(shares, squashed, tokens[rows], scale, temperature).to(hidden.dtype)
                slopes[rows] = slope @ weight
                if keeps and any(wants_parameters):
                    kept.append(slope)
        ctx.save_for_backward(
            slopes, *((hidden, weight, bias, tokens) if any(wants_parameters) else (None,) * 4), *kept
        )
        ctx.settings = settings
        ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    def backward(ctx: Any, by_logps: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        slopes, hidden, weight, bias, tokens, *kept = ctx.saved_tensors
        by_hidden = None if slopes is None else slopes * by_logps[:, None].to(slopes.dtype)
        by_weight = by_bias = None
        if hidden is not None:
            by_weight, by_bias = _by_parameters(hidden, weight, bias, tokens, by_logps, ctx.settings, kept)
        return by_hidden, by_weight, by_bias, None, None, None, None, None


def _logits(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None, scale: float, temperature: float
) -> tuple[Tensor, Tensor | None]:
    """Logits `(rows, vocabulary)`; and with a softcap, the hyperbolic tangent in it."""
    product = functional.linear(hidden, weight, bias)
    logits = _fine(product).mul_(scale)
    if softcap is None:
        return logits.div_(temperature), None
    squashed = torch.tanh(logits.div_(softcap))
    return squashed * (softcap / temperature), squashed


def _by_product(shares: Tensor, squashed: Tensor | None, tokens: Tensor, scale: float, temperature: float) -> Tensor:
    """Derivative of each log-probability by the product with the output matrix; takes the memory of `shares`."""
    slope = shares.neg_()
    slope.scatter_add_(1, tokens[:, None], slope.new_ones(len(tokens), 1))
    if squashed is not None:
        slope.mul_(squashed.square_().neg_().add_(1))
    return slope.mul_(scale / temperature)


def _by_parameters(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    tokens: Tensor,
    by_logps: Tensor,
    settings: tuple[float | None, float, float],
    kept: list[Tensor],
) -> tuple[Tensor, Tensor | None]:
    fine = torch.promote_types(hidden.dtype, torch.float32)
    by_weight = torch.zeros_like(weight, dtype=fine)
    by_bias = None if bias is None else torch.zeros_like(bias, dtype=fine)
    size = _chunk_rows(len(weight))
    for number, start in enumerate(range(0, len(hidden), size)):
        rows = slice(start, start + size)
        if kept:
            slope = kept[number]
        else:
            logits, squashed = _logits(hidden[rows], weight, bias, *settings)
            slope = _by_product(torch.softmax(logits, 1), squashed, tokens[rows], *settings[1:]).to(hidden.dtype)
        if by_bias is not None:
            by_bias.addmv_(slope.T.to(fine), by_logps[rows])
        # Hidden states are narrower than slopes: it is they that are multiplied.
        states = (hidden[rows] * by_logps[rows, None]).to(hidden.dtype)
        if hidden.dtype == fine:
            by_weight.addmm_(slope.T, states)
        else:
            by_weight += slope.T @ states
    return by_weight.to(weight.dtype), None if by_bias is None else by_bias.to(bias.dtype)


def _chunk_rows(vocabulary: int) -> int:
    return max(_CHUNK_LOGITS // vocabulary, _CHUNK_ROWS)


def _fine(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
