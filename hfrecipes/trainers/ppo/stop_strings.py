"""Texts at which completions end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria

from hfrecipes.recipe.problem import Problem, RecipeError


class StopStrings(StoppingCriteria):
    """Whether the last token of each row completes one of some texts, for any tokenizer.

    (`transformers.StopStringCriteria` asks the tokenizer to give back a word of its own, which not every one can.)

    Args:
        tokenizer: Of the tokens.
        strings: The texts.
        start: Tokens before that are not read: a prompt.

    Raises:
        RecipeError: one of the texts is empty, which every completion holds.
    """

    def __init__(self, tokenizer: Any, strings: Sequence[str], start: int = 0) -> None:
        if not all(strings):
            fault = "has an empty text, at which each completion would end before it begins"
            raise RecipeError(Problem("training.stop_strings", fault, "remove it"))
        self.tokenizer, self.strings, self.start = tokenizer, list(strings), start
        # A character can be several tokens, one for each of its bytes.
        self._tail = 4 * max(map(len, self.strings)) + 1

    def __call__(self, input_ids: Tensor, scores: Any = None, **_: Any) -> Tensor:
        """Booleans `(rows,)` of tokens `(rows, tokens)`."""
        ends = input_ids[:, self.start :][:, -self._tail :].tolist()
        texts = self.tokenizer.batch_decode(ends, skip_special_tokens=True)
        found = [any(stop in text for stop in self.strings) for text in texts]
        return torch.tensor(found, dtype=torch.bool, device=input_ids.device)

    def behind(self, start: int) -> StopStrings:
        return StopStrings(self.tokenizer, self.strings, start)
