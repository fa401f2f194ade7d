"""The few numbers of an architecture that FLOPs and activations depend on, read from any transformers config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelShape:
    """Widths and depths of a causal language model.

    Args:
        num_layers: L, layers of any sort.
        hidden_size: h.
        num_heads: a, query heads.
        num_key_value_heads: Heads of keys and values.
        head_dim: Width of a head.
        mlp_width: Width of the MLP that a token passes; experts that it visits counted together.
        vocab_size: V.
        windows: One entry per layer with softmax attention: its sliding window, or None where it sees the whole row.
        max_positions: The longest row that the positions were made for; None where the architecture knows no limit.
        num_experts: Experts of a mixture, 0 where there is none.
        experts_per_token: Experts that a token visits.
        capped_scores: Whether attention caps its scores, which only the eager implementation and flex attention can.
    """

    num_layers: int
    hidden_size: int
    num_heads: int
    num_key_value_heads: int
    head_dim: int
    mlp_width: int
    vocab_size: int
    windows: tuple[int | None, ...]
    max_positions: int | None
    num_experts: int
    experts_per_token: int
    capped_scores: bool


def model_shape(config: Any) -> ModelShape:
    """Reads a `PreTrainedConfig`, under the names that families give the same number.

    Raises:
        ValueError: where it lacks one that every transformer has.
    """
    config = config.get_text_config()
    hidden_size, num_layers = (_required(config, name) for name in ("hidden_size", "num_hidden_layers"))
    num_heads = _first(config, "num_attention_heads", default=1)
    num_experts = _first(config, "num_local_experts", "num_experts", "n_routed_experts", default=0)
    experts_per_token = _first(config, "num_experts_per_tok", "num_experts_per_token", "top_k_experts", default=0)
    return ModelShape(
        num_layers=num_layers,
        hidden_size=hidden_size,
        num_heads=num_heads,
        num_key_value_heads=_first(config, "num_key_value_heads", default=num_heads),
        head_dim=_first(config, "head_dim", default=hidden_size // num_heads),
        mlp_width=_mlp_width(config, hidden_size, num_experts, experts_per_token),
        vocab_size=_required(config, "vocab_size"),
        windows=_windows(config, num_layers),
        max_positions=_first(config, "max_position_embeddings", default=None),
        num_experts=num_experts,
        experts_per_token=experts_per_token,
        capped_scores=_first(config, "attn_logit_softcapping", default=None) is not None,
    )


def _mlp_width(config: Any, hidden_size: int, num_experts: int, experts_per_token: int) -> int:
    # GPT-2 and its kin leave the width unset and mean four times the hidden size.
    dense = _first(config, "intermediate_size", "n_inner", "ffn_dim", default=4 * hidden_size)
    if not num_experts:
        return dense
    shared = _first(config, "shared_expert_intermediate_size", default=0)
    return _first(config, "moe_intermediate_size", default=dense) * max(experts_per_token, 1) + shared


def _windows(config: Any, num_layers: int) -> tuple[int | None, ...]:
    window = _first(config, "sliding_window", default=None)
    if getattr(config, "use_sliding_window", True) is False:
        window = None
    kinds = _first(config, "layer_types", default=None)
    if kinds is None:
        return (window,) * num_layers
    by_kind = {"full_attention": None, "attention": None, "sliding_attention": window, "chunked_attention": window}
    # A layer of another kind (linear attention, a state space) has no product of queries and keys over the row.
    return tuple(by_kind[kind] for kind in kinds if kind in by_kind)


def _required(config: Any, name: str) -> Any:
    value = _first(config, name, default=None)
    if value is None:
        raise ValueError(f"the config of model type {config.model_type!r} has no {name}")
    return value


def _first(config: Any, *names: str, default: Any) -> Any:
    values = (getattr(config, name, None) for name in names)
    return next((value for value in values if value is not None), default)
