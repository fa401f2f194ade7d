"""Batches of packed rows: padding and packing change no loss, and no row is without one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from hfrecipes.data.packing import pack_documents
from hfrecipes.objectives.clm import PackedCollator

EOS, VOCABULARY = 0, 40
DOCUMENTS = [[7, 8, 9], [10], [11, 12, 13, 14, 15], [16, 17], [18]]
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    "qwen2": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2},
}


@pytest.fixture(params=SHAPES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(request.param, vocab_size=VOCABULARY, **SHAPES[request.param])
    return AutoModelForCausalLM.from_config(config).eval()


def packed(context_length: int, mask: bool) -> list[dict[str, Any]]:
    rows = pack_documents(DOCUMENTS, context_length, EOS, mask)
    names = ("input_ids", "labels", "position_ids") if mask else ("input_ids", "labels")
    return [{name: getattr(row, name).tolist() for name in names} for row in rows]


def loss_of(model: PreTrainedModel, rows: list[dict[str, Any]], **words: Any) -> float:
    with torch.no_grad():
        return model(**PackedCollator(EOS)(rows), use_cache=False, **words).loss.item()


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("context_length", [8, 16])  # the stream has 17 tokens, so both leave one over
def test_every_packed_row_has_a_finite_loss_alone(model: PreTrainedModel, context_length: int, mask: bool) -> None:
    rows = packed(context_length, mask)
    assert sum(len(row["input_ids"]) for row in rows) == 16
    assert all(math.isfinite(loss_of(model, [row])) for row in rows)


def test_the_row_that_packing_leaves_out_has_no_loss(model: PreTrainedModel) -> None:
    """Alone in a batch of an evaluation, the last EOS would make the mean of the whole not a number."""
    assert math.isnan(loss_of(model, [{"input_ids": [EOS], "labels": [EOS]}]))


def test_padding_changes_no_loss(model: PreTrainedModel) -> None:
    rows = [packed(8, False)[0], {"input_ids": [20, 21, 22], "labels": [20, 21, 22]}]
    together = loss_of(model, rows, num_items_in_batch=torch.tensor(1))
    apart = sum(loss_of(model, [row], num_items_in_batch=torch.tensor(1)) for row in rows)
    assert together == pytest.approx(apart, rel=1e-5)


def test_a_masked_row_loses_what_its_documents_lose(model: PreTrainedModel) -> None:
    (row,) = packed(32, True)
    together = loss_of(model, [row], num_items_in_batch=torch.tensor(1))
    alone = [{"input_ids": [*ids, EOS], "labels": [*ids, EOS]} for ids in DOCUMENTS]
    apart = sum(loss_of(model, [document], num_items_in_batch=torch.tensor(1)) for document in alone)
    assert together == pytest.approx(apart, rel=1e-5)


@pytest.mark.parametrize("name", ["input_ids", "labels", "position_ids"])
def test_padding_stands_on_the_right(name: str) -> None:
    rows = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3], "position_ids": [0, 1, 2]}]
    rows += [{"input_ids": [4], "labels": [4], "position_ids": [0]}]
    padding: dict[str, Callable[[], list[int]]] = {
        "input_ids": lambda: [4, EOS, EOS],
        "labels": lambda: [4, -100, -100],
        "position_ids": lambda: [0, 0, 1],
    }
    assert PackedCollator(EOS)(rows)[name][1].tolist() == padding[name]()
