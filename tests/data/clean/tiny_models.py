"""Tiny models with random weights and the texts that they score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "fox",
    "学而时习之，不亦说乎？",
    "def add(a, b):\n    return a + b\n" * 9,
    "Wer reitet so spät durch Nacht und Wind? " * 3,
    "a b",
    "The dog. " * 60,
]


def save_model(folder: Path, tokenizer_folder: Path, auto: str, model_type: str, **settings: Any) -> Path:
    """A random model of an architecture beside a tokenizer: small, its weights large enough that texts differ."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    words = {"vocab_size": len(tokenizer), **sizes, "max_position_embeddings": 64, "initializer_range": 0.3, **settings}
    config = transformers.AutoConfig.for_model(model_type, **words)
    getattr(transformers, auto).from_config(config).save_pretrained(folder)
    return folder
