"""What `generate` gives besides tokens: scores and logits by step, and a streamer that is fed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hfrecipes.models.mtp.texts import Texts


class Records:
    """Logits or scores of every written token, in the layout of `generate`: by step, then by row.

    Args:
        rows: Of the batch.
    """

    def __init__(self, rows: int) -> None:
        self._kept: list[list[Tensor]] = [[] for _ in range(rows)]

    def add(self, rows: list[int], values: Tensor) -> None:
        """One token's, `(len(rows), vocabulary)`."""
        for row, value in zip(rows, values.clone(), strict=True):
            self._kept[row].append(value)

    def steps(self, number: int) -> tuple[Tensor, ...]:
        """`(rows, vocabulary)` for each of the first steps; 0 where a row has ended before."""
        empty = torch.zeros_like(next(row[0] for row in self._kept if row))
        return tuple(
            torch.stack([row[step] if step < len(row) else empty for row in self._kept]) for step in range(number)
        )


class Stream:
    """Feeds a streamer as `generate` does: the prompts, then a token of every row at a time, in order.

    Args:
        streamer: Of transformers; None for nobody.
        texts: That are written.
    """

    def __init__(self, streamer: Any, texts: Texts) -> None:
        self._streamer, self._texts = streamer, texts
        self._sent = texts.prompt
        if streamer is not None:
            streamer.put(texts.tokens[:, : texts.prompt].cpu())

    def feed(self) -> None:
        """What is new and settled in all rows."""
        if self._streamer is None:
            return
        tokens = self._texts.settled().cpu()
        for place in range(self._sent, tokens.shape[1]):
            self._streamer.put(tokens[:, place])
        self._sent = tokens.shape[1]

    def end(self) -> None:
        if self._streamer is not None:
            self._streamer.end()
