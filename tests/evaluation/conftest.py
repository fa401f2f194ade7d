"""A tiny model and a tokenizer for it."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from .tiny import CHATML, build_model, train_tokenizer


@pytest.fixture
def llama():
    return build_model("llama")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer(CHATML)
