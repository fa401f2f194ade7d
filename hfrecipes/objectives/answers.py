"""Batches of prompts with several answers each, from rows in which the sequences stand one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from hfrecipes.objectives.clm import IGNORED
from hfrecipes.objectives.preference import NO_ANSWER

# Columns that `trl.DPOTrainer` adds to the rows where it has computed the reference beforehand.
REFERENCES = ("ref_chosen_logps", "ref_rejected_logps")


def split_row(row: dict[str, Any], column: str = "input_ids") -> list[list[int]]:
    """The sequences of a row, each the prompt and one answer."""
    ends = accumulate(row["seq_lengths"], initial=0)
    return [list(row[column][start:end]) for start, end in pairwise(ends)]


class RankingCollator:
    """Rows to the answers of all their prompts, prompt after prompt, padded on the right.

    Args:
        pad_token_id: Fills short sequences. A reward is read at the last token that is another one.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """`ranks` (prompts, most answers), `margin` (prompts,), `input_ids` and `attention_mask` (answers, longest)."""
        ranks = _padded([row["ranks"] for row in rows], NO_ANSWER)
        margins = torch.tensor([row["margin"] for row in rows], dtype=torch.float32)
        sequences = [sequence for row in rows for sequence in split_row(row)]
        # The Trainer takes the size of the first tensor for that of the batch, by which it weighs the losses it measures.
        return {"ranks": ranks, "margin": margins, **_inputs(sequences, self.pad_token_id)}


class PairCollator:
    """Rows of two answers to the batches of `trl.DPOTrainer`: all chosen sequences, then all rejected ones.

    Args:
        pad_token_id: Fills short sequences.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask` and `completion_mask` of shape (2 x rows, longest), references of shape (rows,)."""
        chosen, rejected = zip(*(split_row(row) for row in rows), strict=True)
        answered = list(zip(*(split_row(row, "labels") for row in rows), strict=True))
        marks = [[int(label != IGNORED) for label in labels] for side in answered for labels in side]
        batch = _inputs([*chosen, *rejected], self.pad_token_id) | {"completion_mask": _padded(marks, 0)}
        return batch | {name: torch.tensor([row[name] for row in rows]) for name in REFERENCES if name in rows[0]}


def _inputs(sequences: Sequence[list[int]], pad_token_id: int) -> dict[str, torch.Tensor]:
    mask = _padded([[1] * len(sequence) for sequence in sequences], 0)
    return {"input_ids": _padded(sequences, pad_token_id), "attention_mask": mask}


def _padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    tensors = [torch.as_tensor(list(row), dtype=torch.int64) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=filler)
