"""Heads of a quantised model are whole: dequantised, trained as they are, and the trunk adapted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from hfrecipes.models.mtp.anatomy import AnatomyError
from hfrecipes.models.mtp.attach import add_mtp_heads, load_mtp
from hfrecipes.models.mtp.saving import write_heads

from .families import VOCABULARY, build, naive_losses, shake

BITS: dict[str, dict[str, Any]] = {
    "4-bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "4-bit, stored as bfloat16": {"load_in_4bit": True, "bnb_4bit_quant_storage": "bfloat16"},
    "8-bit": {"load_in_8bit": True},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    build("llama", torch.float32).save_pretrained(folder)
    return folder


def quantised(base: Path, bits: str, **words: Any) -> Any:
    return AutoModelForCausalLM.from_pretrained(base, quantization_config=BitsAndBytesConfig(**BITS[bits]), **words)


def adapted(model: Any) -> Any:
    torch.manual_seed(0)
    config = LoraConfig(target_modules="all-linear", exclude_modules=".*mtp_heads.*", task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    # The second matrices of an adapter begin as zeros, and the gradients of the first with them.
    shake((weight for name, weight in model.named_parameters() if "lora_" in name), 0.1)
    model.get_base_model().mtp_heads.requires_grad_(True)
    return model


def rows() -> torch.Tensor:
    return torch.randint(5, VOCABULARY, (2, 10), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", list(BITS))
def test_a_head_computes_what_the_quantised_layer_does(bits: str, dtype: torch.dtype, base: Path) -> None:
    model = add_mtp_heads(quantised(base, bits, dtype=dtype), 3, "parallel")
    layer, head = model.model.layers[-1], model.mtp_heads.layers[0]
    for name, linear in head.named_modules():
        if isinstance(linear, nn.Linear):
            assert type(linear) is nn.Linear
            assert linear.weight.dtype == dtype
            # What the quantised one does to each unit vector is its matrix.
            unit = torch.eye(linear.in_features, dtype=dtype)
            made = layer.get_submodule(name)(unit)
            # The 8-bit product rounds what it is given, too.
            torch.testing.assert_close(linear(unit), made, rtol=0.02, atol=0.02 if dtype == torch.bfloat16 else 2e-3)
    assert all(type(weight) is nn.Parameter for weight in model.mtp_heads.parameters())


@pytest.mark.parametrize("kind", ["parallel", "chained"])
@pytest.mark.parametrize("bits", ["4-bit", "8-bit"])
def test_loss_and_gradients_of_heads_and_adapter_are_those_written_out(bits: str, kind: str, base: Path) -> None:
    model = adapted(add_mtp_heads(quantised(base, bits), 3, kind))
    inner = model.get_base_model()
    shake(inner.mtp_heads.parameters(), 0.1)
    ids = rows()
    loss = model(input_ids=ids, labels=ids).loss
    each = naive_losses(inner, ids, ids, None)
    weighted = zip((1.0, 0.3, 0.3), each, strict=True)
    expected = sum(weight * sum(losses) for weight, losses in weighted) / len(each[0])
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert {"lora_A" in name for name in named} == {True, False}
    got, wanted = (torch.autograd.grad(one, list(named.values()), allow_unused=True) for one in (loss, expected))
    for name, one, other in zip(named, got, wanted, strict=True):
        if other is None:
            assert one is None, name
            continue
        assert float(other.norm()) > 0, name
        assert float((one - other).norm()) <= 1e-4 * float(other.norm()), name


@pytest.mark.parametrize("kind", ["parallel", "chained"])
def test_an_adapters_folder_brings_its_heads_along(kind: str, base: Path, tmp_path: Path) -> None:
    model = adapted(add_mtp_heads(quantised(base, "4-bit"), 3, kind))
    inner = model.get_base_model()
    shake(inner.mtp_heads.parameters(), 0.1)
    model.save_pretrained(tmp_path)
    write_heads(tmp_path, inner.mtp_heads.state_dict(), inner.head_facts)
    loaded = load_mtp(tmp_path, quantization_config=BitsAndBytesConfig(**BITS["4-bit"]))
    ids = rows()
    with torch.no_grad():
        one, other = model(input_ids=ids, labels=ids), loaded(input_ids=ids, labels=ids)
    assert torch.equal(one.loss, other.loss)
    assert torch.equal(one.head_losses, other.head_losses)
    # And on the base as it was before it was quantised.
    whole = load_mtp(tmp_path)
    assert float(whole(input_ids=ids, labels=ids).loss) == pytest.approx(float(one.loss), rel=0.1)


def test_a_head_on_an_adapted_layer_begins_with_what_the_adapter_adds(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    model = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    shake((weight for name, weight in model.named_parameters() if "lora_" in name), 0.1)
    inner = add_mtp_heads(model.get_base_model(), 2, "parallel")
    assert not any("lora" in name for name, _ in inner.mtp_heads.named_parameters())
    ids = rows()
    output = inner(input_ids=ids, labels=ids)
    # A head that is a copy of the last layer predicts what that layer does, only for another token.
    logits = inner(input_ids=ids).logits[:, :-2]
    expected = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 2:].flatten(), reduction="sum")
    torch.testing.assert_close(output.head_losses[1], expected.detach(), rtol=1e-5, atol=0)


def test_weights_quantised_otherwise_are_refused(base: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    model.quantization_method = "gptq"
    with pytest.raises(AnatomyError, match="quantised by gptq"):
        add_mtp_heads(model, 2)
