"""Rows of a model's embeddings for pieces that its tokenizer was given besides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from hfrecipes.models.config import embedding_rows
from hfrecipes.tokenization.extension import Extension

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def input_rows(model: Any) -> int:
    """Rows of a model's input embedding, whatever peft has put around it."""
    module = model.get_input_embeddings()
    return getattr(module, "original_module", module).num_embeddings


@torch.no_grad()
def extend_embeddings(model: PreTrainedModel, extension: Extension, *, filled: bool = True) -> None:
    """Gives each new piece the mean of the rows of the old pieces it was spelled in, of the input and of the output.

    A model that has read these pieces one after the other so begins near them rather than from noise (Gee et al. 2022,
    "Fast Vocabulary Transfer for Language Model Compression"). Rows beyond the last piece, which only fill up the matrix, get
    the mean of all old rows: drawn at random, they would take probability from all others (Hewitt 2021, "Initializing New Word
    Embeddings for Pretrained Language Models").

    Args:
        model: A causal language model, whose config is changed with it. A tied output stays tied.
        extension: What was added to its tokenizer.
        filled: Whether the matrix is filled up. A base for an adapter is not: who loads the adapter resizes it to the tokenizer.
    """
    old_rows = input_rows(model)
    rows = embedding_rows(extension.entries, old_rows) if filled else max(extension.entries, old_rows)
    model.resize_token_embeddings(rows, mean_resizing=False)
    seen = set()
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        for name in ("weight", "bias"):
            rows = getattr(module, name, None)
            if rows is not None and id(rows) not in seen:
                seen.add(id(rows))
                _fill(rows, extension, old_rows)


def extension_since(before: Any, tokenizer: Any) -> Extension:
    """What a tokenizer has more than the one that it was made of.

    Args:
        before: The transformers tokenizer without the new entries.
        tokenizer: The one with them, at the end.
    """
    first = len(before)
    texts = [tokenizer.decode([token]) for token in range(first, len(tokenizer))]
    return Extension(first, tuple(tuple(before(text, add_special_tokens=False)["input_ids"]) for text in texts), 0)


@torch.no_grad()
def grow_embeddings(model: PreTrainedModel, num_tokens: int, saved_rows: Sequence[int]) -> None:
    """Gives a base rows for the entries by which its tokenizer was extended before the adapter was trained.

    What is in the rows of these entries comes with the adapter; rows that only fill up the matrix are the mean of the old ones,
    as in training (`extend_embeddings`).

    Args:
        model: A base, changed in place where it has too few rows.
        num_tokens: Entries of the tokenizer.
        saved_rows: Of matrices in the adapter's file, one of which may be the whole embedding.
    """
    old = input_rows(model)
    if num_tokens <= old:
        return
    model.resize_token_embeddings(
        max([rows for rows in saved_rows if rows >= num_tokens], default=embedding_rows(num_tokens, old)),
        mean_resizing=False,
    )
    for module in (model.get_input_embeddings(), model.get_output_embeddings()):
        if module is not None:
            module.weight[old:] = module.weight[:old].mean(dim=0, dtype=torch.float32).to(module.weight.dtype)


def _fill(rows: torch.Tensor, extension: Extension, old_rows: int) -> None:
    """Fills the new rows of a matrix, or entries of a vector, shape (vocabulary, …), in place.

    Args:
        rows: Old rows first.
        extension: What was added.
        old_rows: Rows that were there before; some of them may already have stood empty for tokens to come.
    """
    rows[old_rows:] = rows[: min(extension.first_id, old_rows)].mean(dim=0, dtype=torch.float32).to(rows.dtype)
    lengths = torch.tensor([len(ids) for ids in extension.spelled], device=rows.device)
    ids = torch.tensor([token for ids in extension.spelled for token in ids], device=rows.device)
    owners = torch.repeat_interleave(torch.arange(len(lengths), device=rows.device), lengths)
    parts = rows[ids].float()
    sums = parts.new_zeros((len(lengths), *parts.shape[1:])).index_add_(0, owners, parts)
    means = sums / lengths.view(-1, *[1] * (parts.dim() - 1))
    rows[extension.first_id : extension.entries] = means.to(rows.dtype)
