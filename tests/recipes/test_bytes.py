"""The smallest tokenizer that a recipe may ask for: the bytes themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes import load_recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer
from hfrecipes.tokenization.training import train_tokenizer

RECIPE = "pretrain/python-bytes-mtp"


def test_260_entries_are_bytes_and_special_tokens_whatever_the_text(tmp_path: Path) -> None:
    entries = load_recipe(RECIPE).get("model.tokenizer.vocab_size")
    tokenizer = Tokenizer.load(train_tokenizer(["the same the same"] * 9, entries, tmp_path))
    text = "the same – größer"
    assert tokenizer.vocab_size == 260
    assert len(tokenizer.encode_batch([text])[0].ids) == len(text.encode())


def test_fewer_are_refused_with_the_smallest_number() -> None:
    with pytest.raises(RecipeError, match="260"):
        load_recipe(RECIPE, overrides=["model.tokenizer.vocab_size=259"])
