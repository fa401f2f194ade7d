"""Tiny models of many families, and multi-token prediction written out without any saving."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 97
_BASE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
}
_EXPERTS = {"experts_implementation": "eager", "num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _BASE,
    "qwen2": {**_BASE, "tie_word_embeddings": True},
    "qwen3": {**_BASE, "head_dim": 8},
    "mistral": _BASE,
    "gemma": {**_BASE, "head_dim": 8},
    "gemma2": {**_BASE, "head_dim": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 2.0},
    "gemma3_text": {**_BASE, "head_dim": 8, "query_pre_attn_scalar": 8},
    "olmo2": _BASE,
    "gpt2": {
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 64,
        "vocab_size": VOCABULARY,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "gpt_neox": _BASE,
    "phi": _BASE,
    "starcoder2": _BASE,
    "granite": {**_BASE, "logits_scaling": 4.0},
    "cohere": {**_BASE, "logit_scale": 0.0625},
    "mixtral": {**_BASE, **_EXPERTS, "num_local_experts": 4},
    "qwen3_moe": {**_BASE, **_EXPERTS, "num_experts": 4, "moe_intermediate_size": 16, "head_dim": 8},
}


def build(family: str, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    """A model with weights large enough that softcaps and attention matter."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**FAMILIES[family], **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    shake(model.parameters(), 0.1)
    return model


def shake(parameters: Any, size: float) -> None:
    """Moves weights, so that copies of a layer are no copies any more and norms are not all ones."""
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(size * torch.randn_like(parameter))


def naive_losses(
    model: Any, ids: Tensor, labels: Tensor, positions: Tensor | None, **inputs: Any
) -> list[list[Tensor]]:
    """The cross-entropy of every target of every head, one by one, with all logits kept."""
    return [
        [
            -torch.log_softmax(logits[row, at], -1)[labels[row, at + ahead]]
            for row in range(ids.shape[0])
            for at in range(ids.shape[1] - ahead)
            if labels[row, at + ahead] != -100
            and (positions is None or positions[row, at + ahead] - positions[row, at] == ahead)
        ]
        for ahead, logits in enumerate(head_logits(model, ids, positions, **inputs), start=1)
    ]


def head_logits(model: Any, ids: Tensor, positions: Tensor | None = None, **inputs: Any) -> list[Tensor]:
    """The logits of each head at each position, the model's own first."""
    anatomy, heads, caught = model.mtp_anatomy, model.mtp_heads, {}
    hooks = [
        anatomy.last_layer(model).register_forward_pre_hook(
            lambda _, args, kwargs: caught.update(args=args, kwargs=kwargs), with_kwargs=True
        ),
        model.get_output_embeddings().register_forward_pre_hook(lambda _, args: caught.update(read=args[0])),
    ]
    given = inputs if positions is None else {**inputs, "position_ids": positions}
    own = model(input_ids=ids, use_cache=False, **given).logits
    for hook in hooks:
        hook.remove()
    made, states = [own], caught["read"]
    trunk = caught["args"][0] if caught["args"] else caught["kwargs"]["hidden_states"]
    for head, layer in enumerate(heads.layers):
        if hasattr(heads, "projections"):
            embedded = model.get_input_embeddings()(torch.cat([ids[:, head + 1 :], ids[:, : head + 1]], 1))
            pair = [heads.embedding_norms[head](embedded), heads.hidden_norms[head](states)]
            states = heads.last_norms[head](_call(layer, heads.projections[head](torch.cat(pair, -1)), caught))
        else:
            states = anatomy.normalise(model, _call(layer, trunk, caught))
        logits = model.get_output_embeddings()(states) * anatomy.scale
        made.append(logits if anatomy.softcap is None else anatomy.softcap * torch.tanh(logits / anatomy.softcap))
    return made


def _call(layer: Any, states: Tensor, caught: dict[str, Any]) -> Tensor:
    if caught["args"]:
        made = layer(states, *caught["args"][1:], **caught["kwargs"])
    else:
        made = layer(**{**caught["kwargs"], "hidden_states": states})
    return made[0] if isinstance(made, tuple) else made
