"""Merging: whatever an adapter changes, the plain model that is left says the same, also after it was saved and read back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes.models.extended_embeddings import grow_embeddings
from hfrecipes.models.merge import merge_adapter, refuse_unmergeable
from hfrecipes.recipe.problem import RecipeError

SIZE = {"vocab_size": 96, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.2}
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
IDS = torch.arange(3, 43).reshape(2, 20)


def build(family: str = "llama", **changes):
    torch.manual_seed(0)
    shape = GPT2 if family == "gpt2" else LLAMA
    config = AutoConfig.for_model(family, **{**SIZE, **shape, **changes})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@torch.no_grad()
def stir(model: PeftModel) -> PeftModel:
    """Gives everything that is trained other values, as a training does."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@torch.no_grad()
def logits_of(model) -> torch.Tensor:
    return model(IDS).logits


def read_back(model, folder: Path):
    model.save_pretrained(folder)
    found, loading = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not (loading["missing_keys"] or loading["unexpected_keys"] or loading["mismatched_keys"])
    return found.eval()


LORA = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM", "target_modules": "all-linear"}
ADAPTERS = {
    "lora": LoraConfig(**LORA),
    "rslora": LoraConfig(**LORA, use_rslora=True),
    "dora": LoraConfig(**LORA, use_dora=True),
    "pissa": LoraConfig(**LORA, init_lora_weights="pissa"),
    "olora": LoraConfig(**LORA, init_lora_weights="olora"),
    "ia3": IA3Config(task_type="CAUSAL_LM"),
    "embedding": LoraConfig(**{**LORA, "target_modules": ["q_proj", "embed_tokens"]}),
    "head": LoraConfig(**{**LORA, "target_modules": ["q_proj", "lm_head"]}),
    "saved embedding": LoraConfig(**LORA, modules_to_save=["embed_tokens"]),
    "saved head": LoraConfig(**LORA, modules_to_save=["lm_head"]),
    "saved both": LoraConfig(**LORA, modules_to_save=["embed_tokens", "lm_head"]),
    "tokens": LoraConfig(**LORA, trainable_token_indices=[3, 5, 90]),
}


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_the_merged_model_says_what_the_trained_one_said(name: str, tied: bool, tmp_path: Path) -> None:
    base = build(tie_word_embeddings=tied)
    untouched = logits_of(base)
    trained = stir(get_peft_model(base, ADAPTERS[name]))
    expected = logits_of(trained)
    assert (expected - untouched).abs().max() > 0.05
    merged = merge_adapter(trained, torch.float32)
    assert torch.allclose(logits_of(merged), expected, atol=2e-5)
    found = read_back(merged, tmp_path / "merged")
    assert torch.allclose(logits_of(found), expected, atol=2e-5)
    assert not any("lora" in key or "ia3" in key for key in found.state_dict())


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "gemma"])
def test_other_families_merge_too(family: str, tmp_path: Path) -> None:
    words = {**LORA, "fan_in_fan_out": family == "gpt2"}
    changes = {"head_dim": 8} if family == "gemma" else {}
    trained = stir(get_peft_model(build(family, **changes), LoraConfig(**words)))
    expected = logits_of(trained)
    found = read_back(merge_adapter(trained, torch.float32), tmp_path / "merged")
    assert torch.allclose(logits_of(found), expected, atol=2e-5)


def test_an_adapter_that_was_saved_and_loaded_merges_to_what_it_was_in_training(tmp_path: Path) -> None:
    """PiSSA takes its beginning out of the base as it is loaded, too."""
    build().save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    trained = stir(get_peft_model(base, ADAPTERS["pissa"]))
    expected = logits_of(trained)
    trained.save_pretrained(tmp_path / "adapter")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    merged = merge_adapter(PeftModel.from_pretrained(again, tmp_path / "adapter"), torch.float32)
    assert torch.allclose(logits_of(merged), expected, atol=2e-5)


def test_ties_stay_where_the_embeddings_did_not_learn_and_go_where_one_did(tmp_path: Path) -> None:
    for name, stays in {"lora": True, "embedding": False, "saved head": False}.items():
        trained = stir(get_peft_model(build(tie_word_embeddings=True), ADAPTERS[name]))
        merged = merge_adapter(trained, torch.float32)
        assert merged.config.tie_word_embeddings is stays
        found = read_back(merged, tmp_path / name)
        assert (found.get_input_embeddings().weight is found.get_output_embeddings().weight) is stays


def test_a_merge_in_half_precision_is_rounded_once() -> None:
    base = build().to(torch.bfloat16)
    trained = stir(get_peft_model(base, LoraConfig(**LORA), autocast_adapter_dtype=True))
    layer = trained.base_model.model.model.layers[0].mlp.up_proj
    update = (
        layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double() * layer.scaling["default"]
    )
    expected = (layer.base_layer.weight.double() + update).float().to(torch.bfloat16)
    merged = merge_adapter(trained, torch.bfloat16)
    found = merged.model.layers[0].mlp.up_proj.weight
    assert found.dtype == torch.bfloat16
    # float32's own rounding may tip one in thousands to the other side.
    assert (found != expected).double().mean() < 0.005
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}


def test_weights_that_are_not_finite_are_not_merged() -> None:
    trained = get_peft_model(build(), LoraConfig(**LORA))
    with torch.no_grad():
        trained.base_model.model.model.layers[1].self_attn.q_proj.lora_B["default"].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        merge_adapter(trained, torch.float32)


def test_a_trained_bias_needs_one_in_the_base() -> None:
    biased = LoraConfig(**{**LORA, "target_modules": ["q_proj"]}, lora_bias=True)
    with pytest.raises(ValueError, match="no bias"):
        merge_adapter(stir(get_peft_model(build(), biased)), torch.float32)
    trained = stir(get_peft_model(build(attention_bias=True), biased))
    expected = logits_of(trained)
    assert torch.allclose(logits_of(merge_adapter(trained, torch.float32)), expected, atol=2e-5)


def test_a_base_gets_the_rows_that_its_adapter_was_saved_with() -> None:
    for saved, rows in (([], 128), ([64, 100], 100), ([32], 128)):
        base = build()
        old = base.get_input_embeddings().weight.detach().clone()
        grow_embeddings(base, 98, saved)
        weight = base.get_input_embeddings().weight
        assert weight.shape[0] == rows == base.config.vocab_size
        assert torch.equal(weight[:96], old) and torch.allclose(weight[-1], old.mean(dim=0))
    base = build()
    grow_embeddings(base, 96, [200])
    assert base.get_input_embeddings().num_embeddings == 96


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "in front of each layer"),
        ({"peft_type": "PROMPT_TUNING"}, "in front of the text"),
        ({"peft_type": "P_TUNING"}, "in front of the text"),
        ({"peft_type": "LORA", "task_type": "SEQ_CLS"}, "SEQ_CLS"),
    ],
)
def test_what_is_no_change_of_weights_cannot_be_merged(settings: dict, reason: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(RecipeError, match=reason):
        refuse_unmergeable(tmp_path)


def test_bottlenecks_and_whole_models_are_refused_by_name(tmp_path: Path) -> None:
    from hfrecipes.models.adapters import BOTTLENECK_CONFIG

    with pytest.raises(RecipeError, match="nothing to merge"):
        refuse_unmergeable(tmp_path)
    (tmp_path / BOTTLENECK_CONFIG).write_text("{}")
    with pytest.raises(RecipeError, match="bottleneck"):
        refuse_unmergeable(tmp_path)
