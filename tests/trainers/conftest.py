"""Tiny models and rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 64
SIZES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8},
    "olmo2": {"num_key_value_heads": 2},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
}


@pytest.fixture
def tiny_model() -> Callable[..., torch.nn.Module]:
    def make(model_type: str = "llama", **changes: Any) -> torch.nn.Module:
        torch.manual_seed(0)
        sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        if model_type == "gpt2":
            sizes |= {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
        else:
            sizes |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = AutoConfig.for_model(model_type, **{**sizes, **SIZES[model_type], **changes})
        return AutoModelForCausalLM.from_config(config)

    return make
