"""The tokens that heads draft, and the probabilities with which they drew them."""

from __future__ import annotations

import torch
from torch import Tensor

from hfrecipes.models.mtp.texts import Texts


class Proposer:
    """Makes drafts of the logits of heads, for the rows of a batch that go on.

    Args:
        texts: That the drafts are to continue.
        rows: Of the texts, that go on.
        slots: `(len(rows),)`, where they stand in the batch that the heads read.
        sample: Draws drafts; otherwise the most probable tokens are taken.
    """

    def __init__(self, texts: Texts, rows: list[int], slots: Tensor, sample: bool) -> None:
        self._texts, self._rows, self._slots, self._sample = texts, rows, slots, sample
        self._tokens: list[Tensor] = []
        self.chances: list[Tensor] = []
        self._scores: Tensor | None = None

    @property
    def drafts(self) -> Tensor:
        """`(rows, heads that proposed)`; `chances` holds a `(rows, vocabulary)` for each, where they were drawn."""
        if not self._tokens:
            return self._slots.new_zeros(len(self._rows), 0)
        return torch.stack(self._tokens, dim=1)

    def propose(self, head: int, logits: Tensor) -> Tensor:
        """The draft of one head behind those before it.

        Args:
            head: Its number; they come in their order.
            logits: `(batch, vocabulary)`.

        Returns:
            `(batch,)`, 0 in rows that do not go on.
        """
        scores = self._texts.draft_scores(self._rows, logits[self._slots], head)
        tokens = self._take(scores)
        if not self._texts.drafts_at_once:
            self._texts.place(self._rows, tokens, head)
        return tokens.new_zeros(len(logits)).index_copy_(0, self._slots, tokens)

    def sureness(self) -> list[float]:
        """By row that goes on, the probability of what is most probable to the head that proposed last."""
        assert self._scores is not None
        return self._scores.float().softmax(-1).amax(-1).tolist()

    def _take(self, scores: Tensor) -> Tensor:
        self._scores = scores
        if self._sample:
            self.chances.append(scores.softmax(-1))
            self._tokens.append(torch.multinomial(self.chances[-1], 1)[:, 0])
        else:
            self._tokens.append(scores.argmax(-1))
        return self._tokens[-1]
