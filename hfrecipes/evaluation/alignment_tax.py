"""What a model forgot of general text while it learnt to please: the same prose before and after, which nobody trained for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import torch

from hfrecipes.data.passages import cut_passages, passage_rows
from hfrecipes.evaluation.forgetting import OLD, Comparison
from hfrecipes.evaluation.language_modeling import measure_loss
from hfrecipes.tokenization.tokenizer import Tokenizer

NUM_PASSAGES, PASSAGE_TOKENS = 64, 256


def general_rows(
    texts: Iterable[str], tokenizer: Tokenizer, num_passages: int = NUM_PASSAGES, length: int = PASSAGE_TOKENS
) -> list[dict[str, Any]]:
    """Tokenised passages of texts that are read in their order, no more than are needed.

    Args:
        texts: General prose that neither model learnt from, such as the split `test` of `python_prose`.
        tokenizer: Both models'.
        num_passages: How many; the first of each text, so that they are of many texts.
        length: Tokens of a passage at most.

    Returns:
        Rows of `input_ids`, `labels` and `num_bytes`, as `measure_loss` takes them.
    """
    firsts = (cut_passages([text], tokenizer, length)[0] for text in texts if text)
    return passage_rows(list(islice(firsts, num_passages)), tokenizer, length).rows


def measure_tax(
    model: torch.nn.Module,
    base: torch.nn.Module | None,
    rows: Sequence[dict[str, Any]],
    name: str,
    batch_size: int = 8,
) -> Comparison:
    """What the same rows cost a model and the one it started from.

    Args:
        model: A causal language model of transformers, or a `PeftModel` around one.
        base: What it started from; None where that is the same weights with the adapter off.
        rows: From `general_rows`.
        name: Of the data set.
        batch_size: Rows per forward pass.

    Returns:
        A comparison for `forgetting.change_of`, which gives bits per byte before and after and the paired change; above zero the
        model has forgotten.

    Raises:
        ValueError: as `measure_loss`.
    """
    after = measure_loss(model, rows, batch_size=batch_size)
    with model.disable_adapter() if base is None else nullcontext():
        before = measure_loss(model if base is None else base, rows, batch_size=batch_size)
    return Comparison(name, OLD, before.nll, before.num_bytes, after.nll, after.num_bytes)
