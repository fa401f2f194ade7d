"""The rewards that a model gives to the answers of prepared rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from hfrecipes.models.mode import eval_mode
from hfrecipes.objectives.answers import RankingCollator


def score_rows(
    model: torch.nn.Module,
    rows: Iterable[dict[str, Any]],
    pad_token_id: int,
    batch_size: int,
    device: torch.device | str | None = None,
) -> list[np.ndarray]:
    """The reward of each answer of each row, in float64.

    Args:
        model: A reward model.
        rows: With `input_ids`, `seq_lengths`, `ranks` and `margin`.
        pad_token_id: The one of the model's config.
        batch_size: Rows per forward pass.
        device: Where batches go; where the model is, by default.

    Returns:
        For each row, in their order, an array of as many rewards as it has answers.
    """
    device = device or next(model.parameters()).device
    collate, found = RankingCollator(pad_token_id), []
    rows = list(rows)
    with eval_mode(model):
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            batch = collate(chunk)
            inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
            rewards = model(**inputs, use_cache=False).logits[:, 0].double().cpu().numpy()
            found += np.split(rewards, np.cumsum([len(row["ranks"]) for row in chunk])[:-1])
    return found


def pairs_of(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """Places of the better and the worse answer of each pair; tied answers make none."""
    places = range(len(ranks))
    return [(better, worse) for better in places for worse in places if ranks[better] < ranks[worse]]
