"""Tiny saved models of several architectures, an adapter, a tokenizer, and runs that hold them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.tokenization.tokenizer import train_tokenizer

VOCABULARY = 300
_SIZES: dict[str, dict[str, Any]] = {
    "llama": {"num_key_value_heads": 2},
    "qwen2": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "gemma": {"num_key_value_heads": 2, "head_dim": 8},
    "gpt2": {},
}
ARCHITECTURES = tuple(_SIZES)


def build(model_type: str) -> Any:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if model_type == "gpt2":
        sizes |= {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    else:
        sizes |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **{**sizes, **_SIZES[model_type]}))


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each architecture, as `save_pretrained` writes it, with a tokenizer."""
    root = tmp_path_factory.mktemp("saved")
    train_tokenizer(["def add(a, b):\n    return a + b\n"] * 4, VOCABULARY, root / "tokenizer")
    for model_type in ARCHITECTURES:
        build(model_type).save_pretrained(root / model_type)
        shutil.copytree(root / "tokenizer", root / model_type, dirs_exist_ok=True)
    return root


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a saved model that a test may damage."""

    def copy(model_type: str = "llama") -> Path:
        return Path(shutil.copytree(saved / model_type, tmp_path / model_type))

    return copy


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> RunDir:
    """A run whose save is finished."""
    run = RunDir(tmp_path / "runs" / "tiny")
    run.write_facts({"name": "tiny", "kind": "sft", "status": "complete"})
    shutil.copytree(saved / "llama", run.model)
    write_manifest(run.model, step=3)
    return run


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    """A LoRA adapter on the tiny Llama; its B is not zero, so that it matters."""
    from peft import LoraConfig, get_peft_model

    base = AutoModelForCausalLM.from_pretrained(saved / "llama")
    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(base, config).save_pretrained(tmp_path / "adapter")
    shutil.copytree(saved / "tokenizer", tmp_path / "adapter", dirs_exist_ok=True)
    return tmp_path / "adapter"


@pytest.fixture
def recipe_for(tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe on a folder, with further words of `model:`."""

    def make(name: Path | str, **words: Any) -> Recipe:
        file = tmp_path / "my.yaml"
        (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
        model = json.dumps({"name_or_path": str(name), **words})
        file.write_text(
            f"kind: sft\nmodel: {model}\ndata:\n  train: [{{path: rows.jsonl}}]\ntraining: {{max_length: 32}}\n"
        )
        return load_recipe(file)

    return make
