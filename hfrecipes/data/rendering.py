"""Examples as text: conversations by the tokenizer's chat template, plain texts with their end."""

from __future__ import annotations

from functools import partial
from typing import Any

from hfrecipes.data.marks import forged_mark
from hfrecipes.data.messages import ROLES, Message, usual_role
from hfrecipes.data.slips import meant_by
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Rendered, Tokenizer
from hfrecipes.tokenization.turns import mark_turns


class Renderer:
    """Renders the conversations of one example, all with its tools and its words for the template.

    Args:
        example: May have `tools` and `chat_template_kwargs`.
        tokenizer: Its chat template renders.
        where: The example's place, for problems.
        template: Used instead of the tokenizer's own.
    """

    def __init__(self, example: dict[str, Any], tokenizer: Tokenizer, where: str, template: str | None = None) -> None:
        self._tokenizer, self._where, self._template = tokenizer, where, template
        self._words = {
            "tools": example.get("tools"),
            "chat_template": template,
            **example.get("chat_template_kwargs", {}),
        }
        self._refuse_marks("tools", example.get("tools"))

    def render(self, messages: list[Message], add_generation_prompt: bool = False) -> Rendered:
        """The conversation as text.

        Raises:
            RecipeError: there is no template, it refuses the messages or leaves one out, one of these holds a mark of its turns,
                or speaks in a role that is nearly a usual one.
        """
        for number, message in enumerate(messages, start=1):
            self._refuse_marks(f"message {number}", message)
        try:
            rendered = self._tokenizer.render(messages, add_generation_prompt=add_generation_prompt, **self._words)
        except ValueError as error:
            fix = "correct the row, or name a tokenizer whose template takes such messages"
            raise RecipeError(Problem(self._where, str(error), fix)) from error
        for number, message in enumerate(messages, start=1):
            if message["role"] not in ROLES:
                self._refuse_role(number, message, rendered.text)
        return rendered

    def render_turns(self, messages: list[Message]) -> Rendered:
        """The conversation with the spans of the assistant's turns, by a template that does not mark them.

        Raises:
            RecipeError: as `render`; or the template does not show where they are.
        """
        self.render(messages)
        ends = self._tokenizer.special_token_texts.values()
        found = mark_turns(partial(self._tokenizer.render, **self._words), messages, ends)
        if found is None:
            message = (
                "the chat template has no {% generation %} markers, and where the assistant's turns end does not show"
            )
            fix = "put the markers into a copy of it for training.chat_template_path, or give prompt and completion"
            raise RecipeError(Problem(self._where, message, fix))
        return found

    def _refuse_role(self, number: int, message: Message, text: str) -> None:
        """Templates write any role down, or none that they do not know: a slip would teach another turn, or be left out."""
        role, content = message["role"], message.get("content")
        template = str(self._template or self._tokenizer.chat_template)
        if any(f"{quote}{role}{quote}" in template for quote in "'\""):
            return
        meant = meant_by(role, ROLES) or usual_role(role)
        if meant is not None:
            fault = f"message {number} has the role {role!r}, which the chat template does not know"
            raise RecipeError(Problem(self._where, fault, f"did you mean {meant}? The roles are {', '.join(ROLES)}"))
        if isinstance(content, str) and content.strip() and content.strip() not in text:
            fault = f"message {number} has the role {role!r}, and the chat template leaves it out"
            fix = f"correct the row (the roles are {', '.join(ROLES)}), or name a template that knows it"
            raise RecipeError(Problem(self._where, fault, fix))

    def _refuse_marks(self, name: str, value: Any) -> None:
        mark = forged_mark(value, self._tokenizer, self._template)
        if mark is None:
            return
        message = f"{name} holds {mark!r}, with which the chat template tells turns apart: a turn could begin inside it"
        fix = "remove the row, or break the mark with format:, as in text.replace('<|', '< |')"
        raise RecipeError(Problem(self._where, message, fix))


def ended(text: str, tokenizer: Tokenizer, where: str) -> str:
    """A plain text with the token at its end that a model stops at.

    Raises:
        RecipeError: the tokenizer has none.
    """
    eos = tokenizer.eos_token
    if eos is None:
        message = f"the tokenizer {tokenizer.name} has no eos_token, so a text could not be ended"
        raise RecipeError(Problem(where, message, "set eos_token in tokenizer_config.json, or name another tokenizer"))
    return text if text.endswith(eos) else text + eos
