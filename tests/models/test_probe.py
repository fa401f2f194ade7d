"""The first forward pass of a model."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes.models.probe import try_forward


def build(**words):
    sizes = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    sizes |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "num_attention_heads": 4}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **{**sizes, **words}))


def test_a_model_that_runs_is_left_as_it_was():
    model = build().train()
    before = [parameter.clone() for parameter in model.parameters()]
    try_forward(model)
    assert model.training and all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_config_that_only_its_first_forward_refuses_is_found():
    model = build(num_key_value_heads=3)  # four heads cannot share three
    with pytest.raises(RuntimeError):
        try_forward(model)
