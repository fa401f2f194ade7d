"""Cross-entropy straight from hidden states, in chunks, so that the logits of all rows never exist at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

IGNORED = -100
# Logits of a chunk: 2**22 numbers are 16 MiB in float32, small beside a model and large enough for a fast matrix product.
_CHUNK_LOGITS = 2**22


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    row_weights: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The weighted sum of the cross-entropies of rows whose logits are `softcap(scale * (hidden @ weight.T + bias))`.

    Gradients are computed along with the loss, chunk by chunk, and only multiplied in the backward pass: instead of logits of
    all rows, what is kept is of the size of `hidden` and `weight` (Hsu et al. 2024, arXiv:2410.10989, section 3.2). The
    softmax, the sums and the gradient of the weight are float32 (or finer) whatever the type of the inputs. Under autocast the
    products are of its type. One backward pass uses the gradients up; a second one over the same graph raises torch's error.

    Args:
        hidden: `(rows, width)`.
        weight: `(vocabulary, width)`.
        targets: `(rows,)` int64; -100 where a row has none.
        row_weights: `(rows,)` what each row counts; those without a target count nothing.
        bias: `(vocabulary,)`.
        softcap: Gemma's: logits become `softcap * tanh(logits / softcap)`.
        scale: Granite's and Cohere's: logits are multiplied by it, before the softcap.

    Returns:
        The sum, a scalar in float32 or finer; and the cross-entropy of each row, `(rows,)`, without gradient, 0 where there is
        no target.
    """
    device = hidden.device.type
    # What autocast would multiply in; inside, each product says its own type, and the weight's gradient keeps a finer one.
    compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    with torch.autocast(device, enabled=False):
        loss, rows = _LinearCrossEntropy.apply(hidden, weight, bias, targets, row_weights, softcap, scale, compute)
    return loss, rows


def chunked_cross_entropy(
    hidden: Tensor,
    output_logits: Callable[[Tensor], Tensor],
    targets: Tensor,
    row_weights: Tensor,
) -> tuple[Tensor, Tensor]:
    """The same through a function that gives the logits, whatever is inside it (an adapter, quantised weights).

    Each chunk is computed twice: its logits are thrown away after the loss, and made again for the gradient.

    Args:
        hidden: `(rows, width)`.
        output_logits: From `(chunk, width)` to `(chunk, vocabulary)`, softcap and scale included.
        targets: As for `linear_cross_entropy`.
        row_weights: As there.

    Returns:
        As there.
    """

    def of_chunk(part: Tensor, wanted: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        logits = output_logits(part)
        losses = functional.cross_entropy(_fine(logits), wanted, ignore_index=IGNORED, reduction="none")
        return (losses * counts).sum(), losses.detach()

    with torch.no_grad():
        vocabulary = output_logits(hidden[:1]).shape[-1]
    size = _chunk_rows(vocabulary)
    parts = [
        checkpoint(of_chunk, *chunk, use_reentrant=False)
        for chunk in zip(hidden.split(size), targets.split(size), row_weights.split(size), strict=True)
    ]
    return torch.stack([loss for loss, _ in parts]).sum(), torch.cat([losses for _, losses in parts])


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        row_weights: Tensor,
        softcap: float | None,
        scale: float,
        compute: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        fine = torch.promote_types(hidden.dtype, torch.float32)
        # Rows without a target cost nothing and teach nothing; in fine-tuning they are most.
        chosen = (targets != IGNORED).nonzero().squeeze(1)
        losses = hidden.new_zeros(len(hidden), dtype=fine)
        by_hidden = torch.zeros_like(hidden) if wants_hidden else None
        by_weight = torch.zeros_like(weight, dtype=fine) if wants_weight else None
        by_bias = torch.zeros_like(bias, dtype=fine) if wants_bias else None
        factor, offset = weight.to(compute), None if bias is None else bias.to(compute)
        for rows in chosen.split(_chunk_rows(len(weight))):
            part, wanted = hidden[rows].to(compute), targets[rows, None]
            logits = functional.linear(part, factor, offset).to(fine).mul_(scale)
            squashed = None
            if softcap is not None:
                squashed = torch.tanh(logits.div_(softcap))
                logits = squashed * softcap
            normaliser = logits.logsumexp(1, keepdim=True)
            losses[rows] = (normaliser - logits.gather(1, wanted)).squeeze(1)
            if not (wants_hidden or wants_weight or wants_bias):
                continue
            # From here on `logits` holds the gradient of the loss by the logits: softmax minus one at the target.
            gradient = logits.sub_(normaliser).exp_()
            gradient.scatter_add_(1, wanted, gradient.new_full(wanted.shape, -1.0))
            if squashed is not None:
                gradient.mul_(squashed.square_().neg_().add_(1))
            gradient.mul_(row_weights[rows, None].to(fine) * scale)
            if wants_bias:
                by_bias += gradient.sum(0)
            coarse = gradient.to(compute)
            if wants_hidden:
                by_hidden[rows] = (coarse @ factor).to(hidden.dtype)
            if wants_weight:
                _add_product(by_weight, coarse.T, part)
        ctx.save_for_backward(by_hidden, by_weight, by_bias, losses)
        ctx.types = weight.dtype, None if bias is None else bias.dtype
        ctx.mark_non_differentiable(losses)
        return (losses * row_weights).sum(), losses

    @staticmethod
    def backward(ctx: Any, by_loss: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        by_hidden, by_weight, by_bias, losses = ctx.saved_tensors
        of_weight, of_bias = ctx.types
        by_rows = losses * by_loss if ctx.needs_input_grad[4] else None
        return (
            None if by_hidden is None else by_hidden.mul_(by_loss.to(by_hidden.dtype)),
            None if by_weight is None else by_weight.mul_(by_loss).to(of_weight),
            None if by_bias is None else by_bias.mul_(by_loss).to(of_bias),
            None,
            by_rows,
            None,
            None,
            None,
        )


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """`total += left @ right`, of which the sum is kept in the total's type."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _chunk_rows(vocabulary: int) -> int:
    return max(_CHUNK_LOGITS // vocabulary, 1)


def _fine(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
