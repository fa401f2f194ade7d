"""Text cut into passages, which models that read through different tokenizers are compared on: the same text to each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from hfrecipes.data.packing import token_bytes
from hfrecipes.tokenization.tokenizer import Tokenizer

_BATCH = 256
# Cut out of its text, a passage may be read as a few tokens more than it was inside; so it gets a part of what a row holds.
_FULL = 0.9


@dataclass(frozen=True, slots=True)
class PassageRows:
    """Passages as rows of one tokenizer.

    Args:
        rows: `input_ids`, `labels` and `num_bytes` of each: the bytes under the tokens that are predicted, which leaves out
            those of the first token.
        owners: The passage that each row is of, shape (rows,): one that does not fit into a row has several.
        num_passages: Also those without a row, which have nothing to predict.
    """

    rows: list[dict[str, Any]]
    owners: np.ndarray
    num_passages: int

    def by_passage(self, figures: np.ndarray) -> np.ndarray:
        """Sums a figure of each row, shape (rows,), over those of a passage, shape (passages,)."""
        return np.bincount(self.owners, weights=figures, minlength=self.num_passages)


def cut_passages(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> list[str]:
    """Cuts texts into passages that fill most of a row each; joined, they are the texts.

    Args:
        texts: Documents.
        tokenizer: Of the tokenizers to compare, the one that needs more tokens.
        length: Tokens of a row.
    """
    step = max(1, int(length * _FULL))
    passages = []
    for begin in range(0, len(texts), _BATCH):
        batch = list(texts[begin : begin + _BATCH])
        for text, encoding in zip(batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True):
            cuts = [0, *(start for start, _ in encoding.offsets[step::step]), len(text)]
            passages += [text[start:end] for start, end in pairwise(cuts) if end > start]
    return passages


def passage_rows(passages: Sequence[str], tokenizer: Tokenizer, length: int) -> PassageRows:
    """Rows of at most `length` tokens; a passage begins with what the tokenizer puts there, and ends with its last character.

    Args:
        passages: Texts.
        tokenizer: Reads them.
        length: Tokens of a row.
    """
    rows, owners = [], []
    for begin in range(0, len(passages), _BATCH):
        batch = list(passages[begin : begin + _BATCH])
        for number, (text, encoding) in enumerate(zip(batch, tokenizer.encode_batch(batch), strict=True), start=begin):
            sizes = token_bytes(text, encoding.offsets)
            # A row of one token predicts nothing.
            for start in range(0, len(sizes) - 1, length):
                ids = encoding.ids[start : start + length]
                num_bytes = int(sizes[start + 1 : start + length].sum())
                rows.append({"input_ids": ids, "labels": ids, "num_bytes": num_bytes})
                owners.append(number)
    return PassageRows(rows, np.array(owners, dtype=np.int64), len(passages))
