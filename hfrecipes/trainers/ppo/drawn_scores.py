"""Log-probabilities, entropies and values of tokens, taken down as these are drawn: a rollout needs a forward pass less."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hfrecipes.trainers.ppo.token_scores import scores_of_logits


class DrawnScores:
    """Takes down what is known of each token when it is drawn; `note` of `sample_completions`.

    The forward passes that draw give the logits of all chosen tokens, as those of training do, and the hidden states that a
    head makes values of.

    Args:
        like: `(rows, length)` of the completions, on their device.
        head: Makes values of hidden states `(rows, width)`; None where they have a forward pass of their own.
    """

    def __init__(self, like: Tensor, head: nn.Module | None) -> None:
        self._head = head
        self._hidden: Tensor | None = None
        names = ("logps", "entropies") if head is None else ("logps", "entropies", "values")
        self._made = {name: torch.zeros(like.shape, device=like.device) for name in names}

    @contextlib.contextmanager
    def watching(self, output: nn.Module) -> Iterator[None]:
        """Sees what the output matrix of a model reads.

        Args:
            output: `model.get_output_embeddings()`.
        """

        def catch(module: nn.Module, args: tuple[Any, ...]) -> None:
            self._hidden = args[0][:, -1]

        handle = output.register_forward_pre_hook(catch)
        try:
            yield
        finally:
            handle.remove()
            self._hidden = None

    def __call__(self, rows: Tensor, step: int, logits: Tensor, tokens: Tensor) -> None:
        self._made["logps"][rows, step], self._made["entropies"][rows, step] = scores_of_logits(logits, tokens)
        if self._head is not None:
            self._made["values"][rows, step] = self._head(self._hidden)

    def of(self, mask: Tensor) -> dict[str, Tensor]:
        """By name, `(rows, length)`, 0 where the mask is false: rows that ended are drawn on until half of all have."""
        return {name: torch.where(mask, values, 0.0) for name, values in self._made.items()}
