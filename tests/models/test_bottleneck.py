"""Bottleneck adapters: where they stand, what they compute, how they are saved."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes.models.bottleneck import Bottleneck, add_bottlenecks, load_bottleneck
from hfrecipes.models.of_run import load_run_model
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

SIZES = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
WIDE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**WIDE, "num_key_value_heads": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "gemma2": {**GROUPED, "head_dim": 8},
    "gemma3_text": {**GROUPED, "head_dim": 8},
    "olmo2": GROUPED,
    "mixtral": {**GROUPED, "num_local_experts": 2},
    "phi": WIDE,
    "gpt_neox": WIDE,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32},
}
IDS = torch.tensor([[5, 9, 3, 40, 7]])


def model_of(family: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SIZES, **FAMILIES[family]})).eval()


def moved(model: Any) -> Any:
    """The model with adapters that are no longer at their beginning."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".bottleneck." in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_they_stand_behind_attention_and_mlp_of_every_family(family: str) -> None:
    model = model_of(family)
    before = logits(model)
    add_bottlenecks(model, r=4)
    places = [name for name, module in model.named_modules() if isinstance(module, Bottleneck)]
    assert len(places) == 4 and sum("att" in name for name in places) == 2
    assert torch.equal(logits(model), before), "up is zero at first"
    changed = logits(moved(model))
    assert not torch.allclose(changed, before)
    with model.disable_adapter():
        assert torch.equal(logits(model), before)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, _ in model.named_parameters() if ".bottleneck." in name}
    model(input_ids=IDS, labels=IDS).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_they_compute_what_houlsby_writes() -> None:
    """Down, gelu, up and back onto the stream, in plain matrix products."""
    adapter = Bottleneck(8, 3, "gelu")
    with torch.no_grad():
        adapter.up.weight.normal_(generator=torch.Generator().manual_seed(0))
        adapter.up.bias.fill_(0.5)
    hidden = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    inner = torch.nn.functional.gelu(hidden @ adapter.down.weight.T + adapter.down.bias)
    torch.testing.assert_close(adapter(hidden), hidden + inner @ adapter.up.weight.T + adapter.up.bias)
    assert adapter(hidden.bfloat16()).dtype == torch.bfloat16


def test_one_part_alone_can_have_them() -> None:
    model = add_bottlenecks(model_of("llama"), r=4, after=["mlp"])
    places = [name for name, module in model.named_modules() if isinstance(module, Bottleneck)]
    assert places == ["model.layers.0.mlp.bottleneck", "model.layers.1.mlp.bottleneck"]


def test_a_copy_has_adapters_of_its_own() -> None:
    model = add_bottlenecks(model_of("llama"), r=4)
    twin = moved(copy.deepcopy(model))
    assert not torch.equal(logits(twin), logits(model))


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_they_are_saved_apart_and_loaded_onto_the_base(family: str, tmp_path: Path) -> None:
    base = model_of(family)
    base.save_pretrained(tmp_path / "base")
    model = moved(add_bottlenecks(base, r=4, nonlinearity="relu", base=(str(tmp_path / "base"), None)))
    model.save_pretrained(tmp_path / "tuned")
    assert sorted(path.name for path in (tmp_path / "tuned").iterdir()) == [
        "bottleneck.safetensors",
        "bottleneck_config.json",
    ]
    assert json.loads((tmp_path / "tuned" / "bottleneck_config.json").read_text())["base_model_name_or_path"] == str(
        tmp_path / "base"
    )
    assert sum(tensor.numel() for tensor in load_file(tmp_path / "tuned" / "bottleneck.safetensors").values()) == sum(
        parameter.numel() for parameter in model.parameters() if parameter.requires_grad
    )
    again = load_bottleneck(AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval(), tmp_path / "tuned")
    assert torch.equal(logits(again), logits(model))
    assert not [
        key for key in AutoModelForCausalLM.from_pretrained(tmp_path / "base").state_dict() if "bottleneck" in key
    ]


def test_another_base_is_refused(tmp_path: Path) -> None:
    model = add_bottlenecks(model_of("llama"), r=4)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not fit GPT2LMHeadModel"):
        load_bottleneck(model_of("gpt2"), tmp_path)
    with pytest.raises(ValueError, match=r"holds no bottleneck_config\.json"):
        load_bottleneck(model_of("gpt2"), tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="has bottleneck adapters already"):
        add_bottlenecks(model)


def test_a_layer_without_the_two_parts_is_refused() -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 64}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("mamba", **sizes))
    with pytest.raises(ValueError, match="a layer of MambaForCausalLM has 1 parts"):
        add_bottlenecks(model)


def test_a_folder_whose_base_is_gone_says_so(tmp_path: Path) -> None:
    model = add_bottlenecks(model_of("llama"), r=4, base=(str(tmp_path / "gone"), None))
    model.save_pretrained(tmp_path / "tuned")
    with pytest.raises(RecipeError, match="there is no such folder"):
        load_run_model(RunDir(tmp_path / "tuned"))
