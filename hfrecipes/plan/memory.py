"""How many bytes a training run takes, on a device and on disk: pure arithmetic over counts.

Sources: ZeRO (Rajbhandari et al. 2020, section 3) for the model states, Korthikanti et al. 2022 ("Reducing Activation
Recomputation in Large Transformer Models", equations 1 to 6) for activations, QLoRA (Dettmers et al. 2023, section 3) for
quantised weights. Symbols: s tokens in a row, b rows on a device, h hidden size, a heads, f width of the MLP, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}

# What is kept per trained parameter, by TrainingArguments' `optim`: how many tensors of its shape, and the bytes of an entry;
# None where the optimizer follows the precision of the parameter (as torch's do).
_OPTIMIZER_STATES: dict[str, tuple[float, float | None]] = {
    "adamw_torch": (2, None),
    "adamw_torch_fused": (2, None),
    "adamw_torch_xla": (2, None),
    "adamw_torch_npu_fused": (2, None),
    "adamw_torch_8bit": (2, 1),
    "adamw_torch_4bit": (2, 0.5),
    "adamw_bnb_8bit": (2, 1),
    "adamw_8bit": (2, 1),
    "paged_adamw_8bit": (2, 1),
    "paged_adamw_32bit": (2, 4),
    "ademamix": (3, 4),
    "paged_ademamix_32bit": (3, 4),
    "ademamix_8bit": (3, 1),
    "paged_ademamix_8bit": (3, 1),
    "lion_32bit": (1, 4),
    "paged_lion_32bit": (1, 4),
    "lion_8bit": (1, 1),
    "paged_lion_8bit": (1, 1),
    "rmsprop": (1, None),
    "rmsprop_bnb": (1, 4),
    "rmsprop_bnb_32bit": (1, 4),
    "rmsprop_bnb_8bit": (1, 1),
    "adagrad": (1, None),
    "sgd": (0, None),
    "schedule_free_adamw": (2, None),
    "schedule_free_radam": (2, None),
    "schedule_free_sgd": (1, None),
    "stable_adamw": (2, None),
}
# Of the 8-bit ones, bitsandbytes' keep embeddings in 32 bits: the Trainer asks for that.
_EMBEDDINGS_IN_FULL = {name for name in _OPTIMIZER_STATES if "8bit" in name and "torch" not in name}


def optimizer_bytes(optim: str, trainable: int, *, parameter_bytes: float = 4, embedding: int = 0) -> float | None:
    """Bytes of optimizer state for `trainable` parameters; None for an optimizer whose state depends on more than a count.

    Args:
        optim: TrainingArguments' word.
        trainable: Parameters that are trained.
        parameter_bytes: Bytes of one trained parameter.
        embedding: How many of the trained parameters lie in embeddings.
    """
    if optim not in _OPTIMIZER_STATES:
        return None
    states, entry_bytes = _OPTIMIZER_STATES[optim]
    entry_bytes = parameter_bytes if entry_bytes is None else entry_bytes
    if optim in _EMBEDDINGS_IN_FULL:
        return states * (entry_bytes * (trainable - embedding) + 4 * embedding)
    return states * entry_bytes * trainable


def quantized_bits(*, load_in_4bit: bool = False, load_in_8bit: bool = False, double_quant: bool = False) -> float:
    """Bits per weight of a bitsandbytes base, its scales included.

    Four bits carry a 32-bit scale per 64 weights (.5 bit), or with double quantisation 8/64 + 32/(64 256) = .127 bit.
    Eight bits carry one scale per row of a matrix, which is too little to count.
    """
    if load_in_4bit == load_in_8bit:
        raise ValueError("exactly one of load_in_4bit and load_in_8bit must be true")
    if load_in_8bit:
        return 8.0
    return 4 + (8 / 64 + 32 / (64 * 256) if double_quant else 32 / 64)


@dataclass(frozen=True, slots=True)
class StateBytes:
    """Bytes of model states: of the whole model, or of one device after `shard`."""

    weights: float
    gradients: float
    optimizer: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer

    def shard(self, stage: int, devices: int) -> StateBytes:
        """What one device keeps under ZeRO: stage 1 splits the optimizer, 2 also gradients, 3 (and FSDP) also weights.

        For bf16 weights with Adam (2, 2 and 12 bytes a parameter, the float32 copy among the last) stage 1 gives the paper's
        4 P + 12 P/n, stage 2 2 P + 14 P/n, stage 3 16 P/n.
        """
        if stage not in (0, 1, 2, 3):
            raise ValueError(f"ZeRO has stages 0 to 3, not {stage}")
        if devices < 1:
            raise ValueError(f"devices must be at least 1, not {devices}")
        split = [devices if stage >= first else 1 for first in (3, 2, 1)]
        return StateBytes(self.weights / split[0], self.gradients / split[1], self.optimizer / split[2])


def layer_activation_bytes(
    tokens: float,
    hidden_size: int,
    mlp_width: float,
    *,
    gated: bool = False,
    score_entries: float = 0.0,
    element_bytes: float = 2,
    mixed: bool = False,
) -> float:
    """Activations that one layer keeps for its backward pass.

    Korthikanti et al. count 11 s b h for attention, 4 s b h for two norms and 19 s b h for an MLP of width 4 h (3 s b h and
    two tensors of the MLP's width), so 34 s b h in 16 bits; attention that keeps its scores ("eager") adds 5 a s^2 b. The
    same count gives a gated MLP (SwiGLU, GeGLU) four tensors of its width: gate, up, the activated gate, their product.

    For Llama this is within 10 % of what autograd saves. Families with further norms (Qwen3, OLMo 2, Gemma) keep 10 to 35 %
    more, activations computed in several operations (`gelu_new`) as well.

    Args:
        tokens: s b, tokens on the device at once.
        hidden_size: h.
        mlp_width: f; for a mixture of experts, the width of one expert times the experts that a token visits.
        gated: Whether the MLP has a gate.
        score_entries: a s^2 b where attention keeps its scores, else 0 (sdpa and flash attention compute them again).
        element_bytes: Bytes of one activation.
        mixed: Whether autocast is at work: the residual stream and the two norms then stay in float32, which keeps 8 s b h
            more for each norm (the input at full width, and its normalised float32 copy, which the weight multiplies).
    """
    mlp_tensors = 4 if gated else 2
    half_precision = tokens * (18 * hidden_size + 2 * mlp_tensors * mlp_width) + 5 * score_entries
    return half_precision * element_bytes / 2 + (16 * tokens * hidden_size if mixed else 0)


def activation_bytes(layer: float, num_layers: int, boundary: float, *, checkpointing: bool = False) -> float:
    """Activations of all layers; with checkpointing, the inputs of the layers and one layer that is computed again.

    Args:
        layer: Bytes of one layer, from `layer_activation_bytes`.
        num_layers: L.
        boundary: Bytes of a layer's input: s b h times the bytes of an activation.
        checkpointing: Whether each layer is computed again in the backward pass (2 s b h L + one live layer).
    """
    return boundary * num_layers + layer if checkpointing else layer * num_layers


def logits_bytes(tokens: float, vocab_size: int, element_bytes: float = 2) -> float:
    """Logits and what the loss makes of them: s b V, once as computed, once more as float32 for the softmax.

    That is 6 bytes an entry under bf16 and 8 where the model computes in float32. A loss that goes over the tokens in chunks
    (TRL's, Liger's) never builds them.
    """
    return tokens * vocab_size * (element_bytes + 4.0)


def kv_cache_bytes(
    num_layers: int, num_key_value_heads: int, head_dim: int, tokens: float, element_bytes: float = 2
) -> float:
    """Keys and values kept for `tokens` tokens (rows times their length) during generation: 2 L n_kv d_head bytes each."""
    return 2.0 * num_layers * num_key_value_heads * head_dim * element_bytes * tokens
