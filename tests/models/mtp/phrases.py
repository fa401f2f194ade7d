"""Tiny models that have learnt some phrases: inside a phrase their drafts are right, where one ends they are not always."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from hfrecipes.models.mtp.attach import add_mtp_heads

from .families import build

EOS, PAD = 1, 0
_PHRASES, _LENGTH, _ROW = 8, 6, 32


@functools.cache
def trained(family: str, heads: str, steps: int = 30) -> Any:
    """A model in float64 with heads for four tokens. Tests share it: they leave it as it is."""
    model = add_mtp_heads(build(family, num_hidden_layers=2), 4, heads)
    model.mtp_weights = [1.0] * 4
    torch.manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(steps):
        rows = phrases()[torch.randint(_PHRASES, (8, _ROW // _LENGTH + 1))].flatten(1)[:, :_ROW]
        model(input_ids=rows, labels=rows).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = PAD, EOS
    return model.eval()


def phrases() -> Tensor:
    return torch.randint(5, 60, (_PHRASES, _LENGTH), generator=torch.Generator().manual_seed(2))


def prompts(rows: int = 4) -> tuple[Tensor, Tensor]:
    """Beginnings of different lengths, padded on the left; and their mask."""
    ids = torch.cat([phrases()[:rows], phrases()[1 : rows + 1, :3]], dim=1)
    mask = torch.ones_like(ids)
    for row in range(1, rows):
        mask[row, : 2 * row] = 0
    return ids.where(mask == 1, PAD), mask
