"""Heads in a file beside a model that loads without them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from hfrecipes.models.mtp.beside import FILE, WORD, heads_beside

PREFIX = "mtp_heads."


def split_state(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The weights of the model, and those of its heads without their prefix."""
    heads = {name.removeprefix(PREFIX): tensor for name, tensor in state.items() if name.startswith(PREFIX)}
    return {name: tensor for name, tensor in state.items() if not name.startswith(PREFIX)}, heads


def write_heads(folder: Path, heads: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes heads and what they are: kind and number."""
    whole = {name: tensor.detach().contiguous().cpu() for name, tensor in heads.items()}
    # One word alone: safetensors writes several in an order that differs from process to process.
    save_file(whole, folder / FILE, metadata={WORD: json.dumps(facts)})


def read_heads(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of heads, and what they are.

    Raises:
        ValueError: there is no such file, or it holds no heads.
    """
    facts = heads_beside(folder)
    if facts is None:
        raise ValueError(f"{folder} holds no {FILE}: the model was saved without heads")
    return load_file(folder / FILE), facts
