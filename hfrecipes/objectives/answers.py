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


class LabelledCollator:
    """Rows of one answer to the batches of `trl.KTOTrainer`, with a mismatched answer to each prompt.

    How far the policy has moved is estimated from each prompt with the answer of the row before, as TRL's does; the rows of a
    batch are drawn anew in each epoch, so that they are paired here and not beforehand.

    Args:
        pad_token_id: Fills short sequences.
        max_length: Tokens of a mismatched sequence at most; None for no bound.
        mismatched: Whether the loss asks for it.
    """

    def __init__(self, pad_token_id: int, max_length: int | None, mismatched: bool) -> None:
        self.pad_token_id, self.max_length, self.mismatched = pad_token_id, max_length, mismatched

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """`input_ids`, `attention_mask`, `completion_mask` (rows, longest), `label` (rows,), and with `KL_` the mismatched."""
        parts = [_parted(row) for row in rows]
        batch = self._side("", parts) | {"label": torch.tensor([bool(row["label"]) for row in rows])}
        if self.mismatched:
            answers = [answer for _, answer in parts]
            others = zip((prompt for prompt, _ in parts), [answers[-1], *answers[:-1]], strict=True)
            batch |= self._side("KL_", list(others))
        return batch

    def _side(self, prefix: str, parts: list[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
        sequences = [[*prompt, *answer][: self.max_length] for prompt, answer in parts]
        marks = [([0] * len(prompt) + [1] * len(answer))[: self.max_length] for prompt, answer in parts]
        inputs = _inputs(sequences, self.pad_token_id) | {"completion_mask": _padded(marks, 0)}
        return {prefix + name: tensor for name, tensor in inputs.items()}


def _parted(row: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The prompt and the answer of a row."""
    ids, labels = list(row["input_ids"]), list(row["labels"])
    start = next((place for place, label in enumerate(labels) if label != IGNORED), len(ids))
    return ids[:start], ids[start:]


def _inputs(sequences: Sequence[list[int]], pad_token_id: int) -> dict[str, torch.Tensor]:
    mask = _padded([[1] * len(sequence) for sequence in sequences], 0)
    return {"input_ids": _padded(sequences, pad_token_id), "attention_mask": mask}


def _padded(rows: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
    tensors = [torch.as_tensor(list(row), dtype=torch.int64) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=filler)
