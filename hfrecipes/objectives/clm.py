"""Next-token prediction: batches of packed rows."""

from __future__ import annotations

from typing import Any

import torch

IGNORED = -100


class PackedCollator:
    """Pads rows of token ids to the longest of the batch.

    No attention mask is made. Padding stands on the right, where causal attention hides it from every real token, and its
    labels are -100. Rows with `position_ids` hold several documents: without an attention mask the positions that start anew
    keep the documents apart (transformers builds the block-diagonal mask from them); with a mask it would not.

    Args:
        pad_token_id: Fills the input.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Rows with `input_ids`, `labels` and possibly `position_ids` to tensors of shape (rows, longest)."""
        fillers = {"input_ids": self.pad_token_id, "labels": IGNORED}
        batch = {name: _pad([row[name] for row in rows], filler) for name, filler in fillers.items()}
        if "position_ids" in rows[0]:
            batch["position_ids"] = _pad_positions([row["position_ids"] for row in rows])
        return batch


def _pad(sequences: list[list[int]], filler: int) -> torch.Tensor:
    longest = max(len(sequence) for sequence in sequences)
    return torch.tensor(
        [[*sequence, *[filler] * (longest - len(sequence))] for sequence in sequences], dtype=torch.long
    )


def _pad_positions(sequences: list[list[int]]) -> torch.Tensor:
    """Padding counts from 0 as a document of its own, so that it costs no attention to the row's text."""
    longest = max(len(sequence) for sequence in sequences)
    rows = [[*sequence, *range(longest - len(sequence))] for sequence in sequences]
    return torch.tensor(rows, dtype=torch.long)
