"""What a model forgot of general text while it learnt to please: the same prose before and after, which nobody trained for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any

import torch

from hfrecipes.data.embedded import open_embedded
from hfrecipes.data.passages import cut_passages, passage_rows
from hfrecipes.evaluation.forgetting import OLD, Comparison
from hfrecipes.evaluation.language_modeling import measure_loss
from hfrecipes.tokenization.tokenizer import Tokenizer

GENERAL_TEXT = "python_prose/test"
NUM_PASSAGES, PASSAGE_TOKENS = 64, 256


def general_rows(
    tokenizer: Tokenizer, num_passages: int = NUM_PASSAGES, length: int = PASSAGE_TOKENS
) -> list[dict[str, Any]]:
    """Tokenised passages of English prose from the running Python's documentation, of the split that no recipe trains on.

    Args:
        tokenizer: Both models'.
        num_passages: How many; the first of each text, so that they are of many texts.
        length: Tokens of a passage at most.

    Returns:
        Rows of `input_ids`, `labels` and `num_bytes`, as `measure_loss` takes them.
    """
    texts = (
        row.values["text"] for row in open_embedded({"name": "python_prose", "split": "test"}, GENERAL_TEXT).rows()
    )
    firsts = (cut_passages([text], tokenizer, length)[0] for text in texts)
    return passage_rows(list(islice(firsts, num_passages)), tokenizer, length).rows


def measure_tax(
    model: torch.nn.Module, base: torch.nn.Module | None, rows: Sequence[dict[str, Any]], batch_size: int = 8
) -> Comparison:
    """What the same rows cost a model and the one it started from.

    Args:
        model: A causal language model of transformers, or a `PeftModel` around one.
        base: What it started from; None where that is the same weights with the adapter off.
        rows: From `general_rows`.
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
    return Comparison(GENERAL_TEXT, OLD, before.nll, before.num_bytes, after.nll, after.num_bytes)
