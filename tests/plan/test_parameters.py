"""The meta-device count against real models with real weights."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from hfrecipes.models.bottleneck import add_bottlenecks
from hfrecipes.models.config import build_config
from hfrecipes.models.peft_methods import peft_config
from hfrecipes.plan.parameters import count_parameters
from hfrecipes.plan.shape import model_shape

FAMILIES = ("llama", "tied_llama", "qwen3", "gpt2", "gemma2", "olmo2", "mixtral", "qwen2_moe")


@pytest.mark.parametrize("family", FAMILIES)
def test_against_the_real_model(family: str, tiny_configs: dict[str, dict]) -> None:
    model = AutoModelForCausalLM.from_config(build_config(tiny_configs[family]))
    count = count_parameters(tiny_configs[family])
    assert count.total == count.trainable == model.num_parameters()
    assert count.non_embedding == model.num_parameters(exclude_embeddings=True)
    assert count.embedding + count.non_embedding == count.total
    assert sum(count.by_part.values()) == count.total
    assert count.unembedding == 300 * 64
    assert count.quantized == 0
    assert "other" not in count.by_part


@pytest.mark.parametrize("family", ["llama", "tied_llama", "gpt2", "gemma2"])
def test_matrix_products_are_those_of_a_real_forward_pass(family: str, tiny_configs: dict[str, dict]) -> None:
    """Every linear module tells, when it is called, how many weights it multiplies with."""
    model = AutoModelForCausalLM.from_config(build_config(tiny_configs[family]))
    met = []
    for module in model.modules():
        if type(module).__name__ in ("Linear", "Conv1D"):
            module.register_forward_hook(lambda module, *_: met.append(module.weight.numel()))
    model(input_ids=torch.tensor([[1, 2, 3]]))
    assert count_parameters(tiny_configs[family]).matmul == sum(met)


def test_a_tied_embedding_counts_once_and_still_multiplies(tiny_configs: dict[str, dict]) -> None:
    tied, untied = (count_parameters(tiny_configs[name]) for name in ("tied_llama", "llama"))
    assert untied.total - tied.total == 300 * 64
    assert untied.matmul == tied.matmul
    assert tied.embedding == untied.embedding == 300 * 64
    assert "unembedding" not in tied.by_part


def test_only_visited_experts_are_active(tiny_configs: dict[str, dict]) -> None:
    mixtral = count_parameters(tiny_configs["mixtral"])
    experts = 2 * 8 * 3 * 64 * 112  # layers, experts, three matrices
    assert mixtral.by_part["experts"] == experts
    assert mixtral.total - mixtral.active == experts * 6 // 8
    assert mixtral.by_part["router"] == 2 * 8 * 64
    qwen = count_parameters(tiny_configs["qwen2_moe"])
    assert qwen.total - qwen.active == 2 * 4 * 3 * 64 * 32 * 2 // 4
    # The shared expert is met by every token.
    assert qwen.matmul == qwen.active - qwen.embedding - qwen.by_part["norm"] - 2 * (64 + 2 * 32)


@pytest.mark.parametrize(
    "adapter",
    [
        {"method": "lora", "r": 4, "target_modules": "all-linear"},
        {"method": "lora", "r": 8, "target_modules": ["q_proj", "v_proj"]},
        {"method": "lora", "r": 8, "target_modules": r".*\.(q|k)_proj", "layers_to_transform": None},
        {"method": "lora", "r": 2, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"method": "lora", "r": 4, "target_modules": ["q_proj"], "use_dora": True, "init_lora_weights": "pissa"},
    ],
)
def test_adapters_against_peft(adapter: dict, tiny_configs: dict[str, dict]) -> None:
    fields = {name: value for name, value in adapter.items() if name not in ("method", "init_lora_weights")}
    model = AutoModelForCausalLM.from_config(build_config(tiny_configs["llama"]))
    real = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **fields))
    count = count_parameters(tiny_configs["llama"], adapter)
    assert (count.trainable, count.total) == real.get_nb_trainable_parameters()
    assert count.by_part["adapter"] == count.trainable
    base = count_parameters(tiny_configs["llama"])
    saved = 300 * 64 if "modules_to_save" in adapter else 0
    magnitudes = 2 * 64 if "use_dora" in adapter else 0
    assert count.trainable_matmul == count.trainable - magnitudes
    assert count.matmul == base.matmul + count.trainable_matmul - saved


def test_quantised_are_the_linear_layers_but_for_the_output(tiny_configs: dict[str, dict]) -> None:
    nf4 = {"load_in_4bit": True}
    count = count_parameters(tiny_configs["llama"], {"method": "lora", "r": 4, "target_modules": "all-linear"}, nf4)
    assert count.quantized == count.by_part["attention"] + count.by_part["mlp"]
    assert count.trainable == count.by_part["adapter"]
    skipping = {**nf4, "llm_int8_skip_modules": ["lm_head", "down_proj"]}
    assert count_parameters(tiny_configs["llama"], None, skipping).quantized == count.quantized - 2 * 64 * 112
    assert count_parameters(tiny_configs["llama"], None, nf4).trainable == 0


def test_gates(tiny_configs: dict[str, dict]) -> None:
    assert count_parameters(tiny_configs["llama"]).gated_mlp
    assert not count_parameters(tiny_configs["gpt2"]).gated_mlp


@pytest.mark.parametrize(
    "fields",
    [
        {"model_type": "lama"},
        {"hidden_size": 64},
        {"model_type": "llama", "hidden_size": "wide"},
        {"model_type": "gpt2", "n_layer": 10**7},
    ],
)
def test_a_config_that_cannot_be(fields: dict) -> None:
    with pytest.raises(ValueError):
        build_config(fields)


def test_shapes(tiny_configs: dict[str, dict]) -> None:
    shapes = {name: model_shape(build_config(tiny_configs[name])) for name in FAMILIES}
    assert {name: shape.hidden_size for name, shape in shapes.items()} == dict.fromkeys(FAMILIES, 64)
    assert shapes["gpt2"].mlp_width == 256
    assert shapes["mixtral"].mlp_width == 2 * 112
    assert shapes["qwen2_moe"].mlp_width == 2 * 32 + 48
    assert shapes["qwen3"].windows == (None, None)
    assert sorted(shapes["gemma2"].windows, key=str) == [32, None]
    assert shapes["llama"].num_key_value_heads == 2
    assert shapes["gpt2"].num_key_value_heads == 4


@pytest.mark.parametrize(
    "adapter",
    [
        {"method": "ia3"},
        {"method": "prefix", "num_virtual_tokens": 5},
        {"method": "prefix", "num_virtual_tokens": 5, "prefix_projection": True, "encoder_hidden_size": 16},
        {"method": "prompt"},
        {"method": "p_tuning", "num_virtual_tokens": 5},
    ],
)
def test_other_methods_against_peft(adapter: dict, tiny_configs: dict[str, dict]) -> None:
    model = AutoModelForCausalLM.from_config(build_config(tiny_configs["llama"]))
    real = get_peft_model(model, peft_config(adapter))
    count = count_parameters(tiny_configs["llama"], adapter)
    assert (count.trainable, count.total) == real.get_nb_trainable_parameters()
    assert count.by_part["adapter"] == count.trainable
    # None of them meets every token in a matrix product.
    assert count.trainable_matmul == 0 and count.matmul == count_parameters(tiny_configs["llama"]).matmul


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_bottlenecks_against_a_real_model(family: str, tiny_configs: dict[str, dict]) -> None:
    adapter = {"method": "bottleneck", "r": 8, "after": ["mlp"]}
    real = add_bottlenecks(AutoModelForCausalLM.from_config(build_config(tiny_configs[family])), r=8, after=["mlp"])
    count = count_parameters(tiny_configs[family], adapter)
    assert (
        count.trainable
        == sum(part.numel() for part in real.parameters() if part.requires_grad)
        == count.by_part["adapter"]
    )
    assert count.total == sum(part.numel() for part in real.parameters())
    assert count.trainable_matmul == 2 * 2 * 64 * 8
