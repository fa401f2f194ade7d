"""Rows for new pieces begin as the mean of the old ones, in every architecture, and are saved as any model's are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes.models.extended_embeddings import extend_embeddings
from hfrecipes.tokenization.extension import Extension

ROWS, USED = 150, 140
SMALL: dict[str, Any] = {
    "vocab_size": ROWS,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {**SMALL, "tie_word_embeddings": False}),
    "llama, tied": ("llama", {**SMALL, "tie_word_embeddings": True}),
    "qwen2": ("qwen2", {**SMALL, "tie_word_embeddings": True}),
    "olmo2": ("olmo2", {**SMALL, "tie_word_embeddings": False}),
    "gemma": ("gemma", {**SMALL, "head_dim": 8}),
    "gpt2": ("gpt2", {"vocab_size": ROWS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    # Its output has a bias for each entry.
    "phi": ("phi", {**SMALL, "num_key_value_heads": 4}),
}
# Ten rows stand empty for tokens to come, which the new pieces take first.
EXTENSION = Extension(USED, ((5,), (7, 9), (1, 2, 3, 3), *((n, n + 1) for n in range(60))), characters=1)


def build(name: str) -> Any:
    torch.manual_seed(0)
    model_type, fields = MODELS[name]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **fields)).eval()
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        # Biases begin as zeros, of which any mean is right.
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter)
    return model


def parts(model: Any) -> list[torch.Tensor]:
    """The input's rows, the output's rows, the output's bias."""
    output = model.get_output_embeddings()
    found = [model.get_input_embeddings().weight, output.weight, getattr(output, "bias", None)]
    return [part.detach().clone() for part in found if part is not None]


@pytest.mark.parametrize("name", MODELS)
def test_new_rows_are_means_and_old_rows_stay(name: str) -> None:
    model = build(name)
    before = parts(model)
    extend_embeddings(model, EXTENSION)
    for old, new in zip(before, parts(model), strict=True):
        assert len(new) == 256, "203 entries, filled up to a multiple of 64"
        torch.testing.assert_close(new[:USED], old[:USED], rtol=0, atol=0)
        for number, ids in enumerate(EXTENSION.spelled):
            torch.testing.assert_close(new[USED + number], sum(old[token] for token in ids) / len(ids))
        torch.testing.assert_close(new[-1], old[:USED].mean(dim=0))


@pytest.mark.parametrize("name", MODELS)
def test_plain_from_pretrained_loads_it_with_the_same_logits(name: str, tmp_path: Path) -> None:
    model = build(name)
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    before = model(ids).logits
    extend_embeddings(model, EXTENSION)
    after = model(ids).logits
    torch.testing.assert_close(after[..., :USED], before[..., :USED])
    model.save_pretrained(tmp_path)
    loaded, found = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not found["missing_keys"] and not found["mismatched_keys"]
    assert loaded.config.vocab_size == 256
    torch.testing.assert_close(loaded.eval()(ids + USED).logits, model(ids + USED).logits)


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name][1].get("tie_word_embeddings") is not False])
def test_tied_outputs_stay_tied(name: str) -> None:
    model = build(name)
    was_tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    extend_embeddings(model, EXTENSION)
    is_tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert is_tied == was_tied == (name != "phi")


def test_rows_that_already_suffice_are_kept_in_number() -> None:
    model = build("qwen2")
    extend_embeddings(model, Extension(USED, ((5, 6),), characters=0))
    rows = model.get_input_embeddings().weight
    assert len(rows) == 192, "150 rows are no multiple of 64"
    extend_embeddings(model, Extension(USED + 1, ((5, 6),), characters=0))
    assert len(model.get_input_embeddings().weight) == 192


def test_half_precision_means_are_taken_in_full_precision() -> None:
    model = build("llama").to(torch.bfloat16)
    many = Extension(USED, (tuple(range(100)),), characters=0)
    exact = model.get_input_embeddings().weight[:100].float().mean(dim=0)
    extend_embeddings(model, many)
    rows = model.get_input_embeddings().weight
    assert rows.dtype == torch.bfloat16
    torch.testing.assert_close(rows[USED], exact.to(torch.bfloat16), rtol=0, atol=0)
