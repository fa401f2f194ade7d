"""A conversation with one model: its turns, and the next answer token by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from transformers import TextStreamer

from hfrecipes.evaluation.generation import generation_config, max_prompt_tokens
from hfrecipes.evaluation.prompts import Message, Prompt, prompt_ids
from hfrecipes.models.mode import eval_mode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Conversation:
    """What was said so far; or, for a model that is no chat model, the one text to continue.

    Args:
        model: A causal language model of transformers, or a `PeftModel` around one.
        tokenizer: Its transformers tokenizer.
        max_new_tokens: Length at which an answer is cut; it is kept free in the model's context.
        temperature: Of the drawing; 0 takes the likeliest token.
        has_turns: Whether texts are turns that the chat template renders; else each is continued by itself.

    Raises:
        ValueError: where `max_new_tokens` fills the whole context.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        max_new_tokens: int,
        temperature: float,
        has_turns: bool,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.has_turns = has_turns
        self.room = max_prompt_tokens(model, max_new_tokens)
        if self.room is not None and self.room < 1:
            context = self.room + max_new_tokens
            raise ValueError(f"{max_new_tokens} new tokens leave no room for a question in a context of {context}")
        self.config = generation_config(
            model, tokenizer, self.has_turns, max_new_tokens, temperature > 0, temperature or 1.0
        )
        self.turns: list[Message] = []
        self.text = ""

    def reset(self) -> None:
        """Forgets all turns."""
        self.turns = []

    def ask(self, text: str) -> int:
        """Takes in what the user says next.

        Returns:
            How many of the oldest turns were forgotten, since the context has no room for them.

        Raises:
            ValueError: where the text alone is too long; the conversation stays as it was.
        """
        if not self.has_turns:
            self._check_length(text)
            self.text = text
            return 0
        question = {"role": "user", "content": text}
        self._check_length([question])
        turns = [*self.turns, question]
        while self._excess(turns) > 0:
            # A question goes with its answer.
            turns = turns[2:]
        forgotten = len(self.turns) + 1 - len(turns)
        self.turns = turns
        return forgotten

    def answer(self, write: Callable[[str], None]) -> str:
        """Answers what was asked, and hands each piece of text to `write` as soon as it is there.

        An interrupt (Ctrl-C) ends the answer, which stays in the conversation as far as it came.
        """
        prompt = self.turns if self.has_turns else self.text
        ids = torch.tensor([prompt_ids(self.tokenizer, prompt)], device=next(self.model.parameters()).device)
        streamer = _Writer(self.tokenizer, write)
        try:
            with eval_mode(self.model):
                self.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=self.config,
                    streamer=streamer,
                )
        except KeyboardInterrupt:
            streamer.end()
        text = "".join(streamer.pieces)
        if self.has_turns:
            self.turns.append({"role": "assistant", "content": text})
        return text

    def _excess(self, prompt: Prompt) -> int:
        return 0 if self.room is None else len(prompt_ids(self.tokenizer, prompt)) - self.room

    def _check_length(self, prompt: Prompt) -> None:
        excess = self._excess(prompt)
        if excess > 0:
            raise ValueError(
                f"too long by {excess} tokens: the model's context has room for {self.room} before the answer"
            )


class _Writer(TextStreamer):
    """Passes text on as words come to their end."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, write: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.write = write
        self.pieces: list[str] = []

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        if text:
            self.pieces.append(text)
            self.write(text)
