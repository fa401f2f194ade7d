"""Names in an adapter's section that match nothing of the model."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from hfrecipes.models.adapter_patterns import refuse_idle_names


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))


@pytest.mark.parametrize(
    "section",
    [
        {"target_modules": ["q_proj", "layers.1.mlp.up_proj", "lm_head"]},
        {"target_modules": "all-linear", "exclude_modules": ["k_proj"], "layers_to_transform": [0, 1]},
        {"rank_pattern": {"layers.0.self_attn.q_proj": 4, r"layers\.\d+\.mlp\..*": 2}, "alpha_pattern": {"k_proj": 8}},
        {"modules_to_save": ["embed_tokens", "model.norm"], "layers_to_transform": 1},
        {"modules_to_save": None, "rank_pattern": {}},
    ],
)
def test_names_that_the_model_has_are_passed_over(section: dict[str, Any], model: Any) -> None:
    refuse_idle_names({"method": "lora", **section}, model)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"target_modules": ["q_proj", "v_porj"]}, r"target_modules names v_porj.*did you mean v_proj\?"),
        ({"exclude_modules": ["proj"]}, "exclude_modules names proj"),
        ({"modules_to_save": ["classifier"]}, "modules_to_save names classifier, and the model has no such module"),
        ({"rank_pattern": {"layers.7.self_attn.q_proj": 4}}, "rank_pattern names layers.7.self_attn.q_proj"),
        ({"alpha_pattern": {"q_proj(": 4}}, "no regular expression"),
        ({"layers_to_transform": [1, 2, 5]}, "names 2, 5, and of layers the model has those from 0 to 1"),
    ],
)
def test_names_that_match_nothing_are_told(section: dict[str, Any], says: str, model: Any) -> None:
    with pytest.raises(ValueError, match=says):
        refuse_idle_names({"method": "lora", **section}, model)
