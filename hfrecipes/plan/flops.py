"""How many floating-point operations a training run takes, and how long a device needs for them.

A multiply and an add are two operations. Model FLOPs are what the mathematics asks for; hardware FLOPs add what
activation checkpointing computes a second time. Utilisation (MFU) is always measured by model FLOPs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# One PFLOP/s kept up for a day: 1e15 * 86400.
PF_S_DAY = 8.64e19


@dataclass(frozen=True, slots=True)
class TokenFlops:
    """Operations for one token of training.

    Args:
        forward: The forward pass.
        backward: The gradients of activations, and of those weights that are trained.
        recompute: The forward work that activation checkpointing repeats during the backward pass.
    """

    forward: float
    backward: float
    recompute: float = 0.0

    @property
    def model(self) -> float:
        return self.forward + self.backward

    @property
    def hardware(self) -> float:
        return self.model + self.recompute


def token_flops(
    matmul: int,
    trainable_matmul: int | None = None,
    attention: float = 0.0,
    *,
    checkpointing: bool = False,
    unembedding: int = 0,
) -> TokenFlops:
    """Operations that one token costs: 6 N where every weight is trained, 4 N + 6 N_adapter under an adapter.

    A weight in a matrix product costs 2 forward, 2 for the gradient of its input, and 2 for its own gradient if it is
    trained. The products of attention have no weights: their backward costs twice their forward. Norms, softmax and
    other work by element are left out, as everywhere in the literature (Kaplan et al. 2020, table 1; PaLM, appendix B).

    Args:
        matmul: Parameters in matrix products per token, with the unembedding, adapters included.
        trainable_matmul: Those of them that are trained. All by default.
        attention: Forward operations of attention for one token, from `attention_flops`.
        checkpointing: Whether the layers' activations are computed again in the backward pass.
        unembedding: Parameters of the output matrix, which lies outside the checkpointed layers.
    """
    trainable_matmul = matmul if trainable_matmul is None else trainable_matmul
    if not 0 <= trainable_matmul <= matmul:
        raise ValueError(f"trainable_matmul ({trainable_matmul}) must lie between 0 and matmul ({matmul})")
    forward = 2.0 * matmul + attention
    backward = 2.0 * matmul + 2.0 * trainable_matmul + 2.0 * attention
    recompute = 2.0 * (matmul - unembedding) + attention if checkpointing else 0.0
    return TokenFlops(forward, backward, recompute)


def attention_flops(windows: Iterable[int | None], width: int, sequence_length: float, *, causal: bool = True) -> float:
    """Forward operations of queries times keys and scores times values, for one token, over all layers.

    Without a mask that is 4 L d s, so 12 L d s with the backward pass (PaLM, appendix B); a causal kernel skips half.

    Args:
        windows: One entry per attention layer: the sliding window in tokens, or None where all tokens are seen.
        width: Heads times head dimension.
        sequence_length: Tokens in a row, on average.
        causal: Whether a token attends to earlier ones only.
    """
    return sum(4.0 * width * attended_tokens(sequence_length, window, causal=causal) for window in windows)


def attended_tokens(sequence_length: float, window: int | None = None, *, causal: bool = True) -> float:
    """Keys that a query sees, on average over a row: s, causally s/2, with a causal window w of s tokens w (1 - w/2s)."""
    if sequence_length < 1:
        raise ValueError(f"sequence_length must be at least 1, not {sequence_length}")
    seen = sequence_length if window is None else min(window, sequence_length)
    return seen * (1 - seen / (2 * sequence_length)) if causal else float(seen)


def training_flops(parameters: float, tokens: float) -> float:
    """The rule of thumb 6 N D, for a model whose every weight is trained."""
    return 6.0 * parameters * tokens


def pf_s_days(flops: float) -> float:
    """PetaFLOP/s-days, the unit of the GPT-3 paper."""
    return flops / PF_S_DAY


def device_hours(flops: float, peak_flops: float, utilisation: float) -> float:
    """Hours of one device, or device-hours of many, for this many model FLOPs.

    Args:
        flops: Model FLOPs.
        peak_flops: Dense peak of one device, in operations per second.
        utilisation: Share of the peak that is reached (MFU), above 0 and at most 1.
    """
    if peak_flops <= 0:
        raise ValueError(f"peak_flops must be positive, not {peak_flops}")
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation must be above 0 and at most 1, not {utilisation}")
    return flops / (3600.0 * peak_flops * utilisation)


def utilisation(flops: float, seconds: float, peak_flops: float, devices: int = 1) -> float:
    """Share of the devices' peak that a run reached (MFU)."""
    if seconds <= 0 or peak_flops <= 0 or devices < 1:
        raise ValueError(f"cannot rate {flops} FLOPs in {seconds} s on {devices} devices of {peak_flops} FLOP/s")
    return flops / (seconds * peak_flops * devices)
