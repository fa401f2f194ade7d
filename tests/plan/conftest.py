"""Tiny models of the families that the plan is held against."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.tokenization.tokenizer import train_tokenizer

_ATTENTION = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
_COMMON = {**_ATTENTION, "intermediate_size": 112, "vocab_size": 300, "max_position_embeddings": 256}
_NO_SPECIAL = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


@pytest.fixture(scope="session")
def tiny_configs() -> dict[str, dict]:
    experts = {"num_experts_per_tok": 2}
    gpt2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 300, "n_positions": 256}
    return {
        "llama": {"model_type": "llama", **_COMMON, **_NO_SPECIAL},
        "tied_llama": {"model_type": "llama", **_COMMON, **_NO_SPECIAL, "tie_word_embeddings": True},
        "qwen3": {"model_type": "qwen3", **_COMMON, **_NO_SPECIAL, "head_dim": 16, "tie_word_embeddings": True},
        "gpt2": {"model_type": "gpt2", **gpt2, **_NO_SPECIAL},
        "gemma2": {"model_type": "gemma2", **_COMMON, **_NO_SPECIAL, "head_dim": 16, "sliding_window": 32},
        "olmo2": {"model_type": "olmo2", **_COMMON, **_NO_SPECIAL},
        "mixtral": {"model_type": "mixtral", **_COMMON, **_NO_SPECIAL, **experts, "num_local_experts": 8},
        "qwen2_moe": {
            "model_type": "qwen2_moe",
            **_COMMON,
            **_NO_SPECIAL,
            **experts,
            "num_experts": 4,
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 48,
        },
    }


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer trained on a few sentences; its chat template marks the assistant's turns."""
    folder = tmp_path_factory.mktemp("tokenizer") / "bpe"
    return train_tokenizer([f"Question {n}: what is {n} and {n}? Answer: {2 * n}." for n in range(200)], 400, folder)


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Sixty questions with answers, as prompt and completion."""
    rows = [{"prompt": f"Question {n}: what is {n} and {n}?", "completion": f" Answer: {2 * n}."} for n in range(60)]
    file = tmp_path / "sums.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., Recipe]:
    """Writes a recipe and loads it."""

    def write(values: dict, name: str = "mine") -> Recipe:
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        return load_recipe(path)

    return write


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFRECIPES_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
