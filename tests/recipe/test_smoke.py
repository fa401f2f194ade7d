"""A recipe made small stays the same recipe: architecture, method, task."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from hfrecipes.models.config import build_config
from hfrecipes.recipe.loader import check_words
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.smoke import shrink

FAMILIES = (
    *(
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "gemma",
        "gemma2",
        "olmo2",
        "gpt2",
        "gpt_neox",
        "phi",
        "phi3",
        "starcoder2",
    ),
    *("mixtral", "qwen2_moe", "smollm3", "granite", "cohere", "stablelm"),
)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_every_family_becomes_tiny(model_type: str) -> None:
    values = {
        "kind": "sft",
        "model": {"name_or_path": "someone/model", "model_type": model_type},
        "data": {"train": [{"name": "a/b"}]},
        "training": {"packing": True},
        "adapter": {"method": "lora", "r": 64},
    }
    small = shrink(check_words(values, Path("my.yaml")))
    assert small.get("model.config.model_type") == model_type
    assert small.get("adapter.r") == 64
    assert small.get("training.packing")
    model = AutoModelForCausalLM.from_config(build_config({**small.get("model.config"), "vocab_size": 512}))
    assert sum(parameter.numel() for parameter in model.parameters()) < 1_000_000


def test_an_unknown_architecture_is_an_error() -> None:
    values = {"kind": "sft", "model": {"name_or_path": "a/b"}, "data": {"train": [{"name": "a/b"}]}, "training": {}}
    with pytest.raises(RecipeError, match=r"add model\.model_type"):
        shrink(check_words(values, Path("my.yaml")))
