"""Heads on any causal language model: the loss of all of them, every gradient, and a model that stays what it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes.models.mtp.anatomy import AnatomyError, find_anatomy
from hfrecipes.models.mtp.attach import add_mtp_heads, load_mtp

from .families import FAMILIES, VOCABULARY, build, naive_losses, shake

HEADS = 3
KINDS = ["parallel", "chained"]


def with_heads(family: str, kind: str, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    model = add_mtp_heads(build(family, dtype, **changes), HEADS, kind)
    shake(model.mtp_heads.parameters(), 0.1)
    return model


def rows(mask: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(5, VOCABULARY, (2, 10), generator=torch.Generator().manual_seed(3))
    labels = ids.clone()
    labels[0, :3] = -100
    return ids, labels if mask is None else labels.masked_fill(mask == 0, -100)


def compare(model: Any, positions: torch.Tensor | None, num_items: int | None = None, **inputs: Any) -> None:
    ids, labels = rows(inputs.get("attention_mask"))
    given = inputs if positions is None else {**inputs, "position_ids": positions}
    output = model(input_ids=ids, labels=labels, num_items_in_batch=num_items, **given)
    each = naive_losses(model, ids, labels, positions, **inputs)
    divisor = num_items or len(each[0])
    expected = sum(
        weight * sum(losses) / divisor for weight, losses in zip(model.mtp_weights, each, strict=True) if weight
    )
    assert output.logits is None
    torch.testing.assert_close(output.loss, expected, rtol=1e-12, atol=0)
    assert output.head_targets.tolist() == [len(losses) for losses in each]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    got, wanted = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (output.loss, expected))
    for (name, _), one, other in zip(model.named_parameters(), got, wanted, strict=True):
        one, other = (torch.zeros(1) if each is None else each for each in (one, other))
        assert float((one - other).norm()) <= 1e-9 * float(other.norm()) + 1e-14, name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", list(FAMILIES))
def test_loss_and_every_gradient_are_those_of_all_logits_written_out(family: str, kind: str) -> None:
    model = with_heads(family, kind)
    compare(model, None)
    compare(model, torch.tensor([[0, 1, 2, 3, 4, 0, 1, 2, 3, 4], [0, 1, 0, 1, 2, 3, 4, 5, 6, 7]]), num_items=40)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", list(FAMILIES))
def test_padding_and_heads_that_count_differently_or_nothing(family: str, kind: str) -> None:
    model = with_heads(family, kind)
    mask = torch.ones(2, 10, dtype=torch.long)
    mask[1, 6:] = 0
    model.mtp_weights = [1.0, 0.3, 0.1]
    compare(model, None, attention_mask=mask)
    model.mtp_weights = [1.0, 0.3, 0.0]
    ids, labels = rows()
    output = model(input_ids=ids, labels=labels)
    assert output.head_losses[1] > 0
    # A head that counts nothing is not run.
    assert output.head_losses[2] == output.head_targets[2] == 0
    output.loss.backward()
    assert all(parameter.grad is None for parameter in model.mtp_heads.layers[1].parameters())


def test_without_a_trainer_each_further_head_counts_what_a_recipe_gives_it() -> None:
    model = with_heads("llama", "parallel")
    ids, labels = rows()
    output = model(input_ids=ids, labels=labels)
    expected = (output.head_losses[0] + 0.3 * output.head_losses[1:].sum()) / output.head_targets[0]
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", list(FAMILIES))
def test_padded_micro_batches_add_up_to_the_gradients_of_one_batch(family: str, kind: str) -> None:
    """Masked unevenly and padded: each micro-batch is divided by the tokens of all."""
    model = with_heads(family, kind, torch.float32)
    model.mtp_weights = [1.0, 0.3, 0.1]
    ids = torch.randint(5, VOCABULARY, (4, 10), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    for row, length in enumerate((10, 7, 4, 9)):
        mask[row, length:] = 0
    labels = ids.masked_fill(mask == 0, -100)
    labels[0, :8] = labels[3, :1] = -100
    num_items = int((labels[:, 1:] != -100).sum())
    found = []
    for size in (4, 1):
        model.zero_grad()
        for part in range(0, 4, size):
            chosen = slice(part, part + size)
            given = {"input_ids": ids[chosen], "labels": labels[chosen], "attention_mask": mask[chosen]}
            model(**given, num_items_in_batch=num_items).loss.backward()
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    whole, pieces = found
    assert whole.keys() == pieces.keys() and any(name.startswith("mtp_heads.") for name in whole)
    error = sum(float((pieces[name] - whole[name]).square().sum()) for name in whole)
    assert error**0.5 <= 1e-6 * sum(float(each.square().sum()) for each in whole.values()) ** 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_activation_checkpointing_changes_nothing(kind: str) -> None:
    ids, labels = rows()
    gradients = []
    for checkpointing in (False, True):
        model = with_heads("llama", kind).train()
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model(input_ids=ids, labels=labels).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_mixture_of_experts_keeps_its_balance() -> None:
    model = with_heads("mixtral", "parallel", output_router_logits=True, router_aux_loss_coef=0.5)
    ids, labels = rows()
    balanced = model(input_ids=ids, labels=labels).loss
    model.config.output_router_logits = False
    plain = model(input_ids=ids, labels=labels).loss
    balance = model(input_ids=ids, output_router_logits=True).aux_loss
    torch.testing.assert_close(balanced - plain, 0.5 * balance, check_dtype=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2"])
def test_without_labels_it_is_the_model_that_it_was(family: str, kind: str) -> None:
    model = build(family, torch.float32)
    ids, _ = rows()
    logits, texts = model(input_ids=ids).logits, model.generate(ids, max_new_tokens=5, do_sample=False)
    add_mtp_heads(model, HEADS, kind)
    assert torch.equal(model(input_ids=ids).logits, logits)
    assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False), texts)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "mixtral"])
def test_what_is_saved_loads_with_stock_parts_alone_and_with_heads(family: str, kind: str, tmp_path: Path) -> None:
    model = with_heads(family, kind, torch.float32)
    ids, labels = rows()
    model.save_pretrained(tmp_path)
    code = (
        "import sys, torch, warnings; warnings.simplefilter('error'); sys.modules['hfrecipes'] = None\n"
        "from transformers import AutoModelForCausalLM\n"
        f"model, info = AutoModelForCausalLM.from_pretrained({str(tmp_path)!r}, output_loading_info=True)\n"
        "assert not info['missing_keys'] and not info['unexpected_keys'] and not info['mismatched_keys'], info\n"
        f"torch.save(model(input_ids=torch.tensor({ids.tolist()})).logits, {str(tmp_path / 'logits.pt')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "UNEXPECTED" not in done.stdout + done.stderr
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), model(input_ids=ids).logits, rtol=0, atol=0)
    loaded = load_mtp(tmp_path)
    for (name, one), (other_name, other) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other_name
        assert torch.equal(one, other), name
    assert torch.equal(loaded(input_ids=ids, labels=labels).loss, model(input_ids=ids, labels=labels).loss)


def test_heads_that_are_not_there_or_are_others_are_told_of(tmp_path: Path) -> None:
    build("llama", torch.float32).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="saved without heads"):
        load_mtp(tmp_path)
    with_heads("llama", "parallel", torch.float32).save_pretrained(tmp_path)
    other = add_mtp_heads(build("llama", torch.float32), 4, "parallel")
    with pytest.raises(ValueError, match="heads of another kind"):
        other.load_heads(tmp_path)


def test_what_cannot_have_heads_is_refused_naming_the_part() -> None:
    with pytest.raises(ValueError, match="2 or more"):
        add_mtp_heads(build("llama"), 1)
    with pytest.raises(ValueError, match="'sequential'; it is parallel or chained"):
        add_mtp_heads(build("llama"), 2, "sequential")
    with pytest.raises(ValueError, match="has heads for 3 tokens already"):
        add_mtp_heads(with_heads("llama", "parallel"), 2)
    opt = {
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 16,
    }
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("opt", **opt, vocab_size=VOCABULARY)).eval()
    with pytest.raises(AnatomyError, match=r"final_layer_norm and model.decoder.project_out between its last layer"):
        add_mtp_heads(model, 2, "chained")
    add_mtp_heads(model, 2, "parallel")


def test_softcap_and_scale_are_found_before_a_model_is_trained() -> None:
    found = {family: find_anatomy(build(family, torch.float32)) for family in ("llama", "gemma2", "granite", "cohere")}
    assert {family: (round(each.scale, 6), each.softcap) for family, each in found.items()} == {
        "llama": (1.0, None),
        "gemma2": (1.0, 2.0),
        "granite": (0.25, None),
        "cohere": (0.0625, None),
    }
