"""Which of a rendered conversation the assistant wrote, for chat templates that do not mark it.

Each of its messages is rendered once more between brackets, which tell where it lies in the text. Whatever the template does
to a message on the way, the text without brackets has to be the very text that it gives without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from hfrecipes.tokenization.chat import Rendered, bracketed

if TYPE_CHECKING:
    from hfrecipes.tokenization.tokenizer import Tokenizer

Message = dict[str, Any]
# Templates take white space from neither, both or one of the ends of a message; a bracket would keep it there.
_TRIMS: tuple[Callable[[str], str], ...] = (str, str.strip, str.lstrip, str.rstrip)
# Where an answer begins with its thoughts, templates cut it behind them.
_THOUGHTS = "</think>"
_PROBE = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"))]


def mark_turns(render: Callable[..., Rendered], messages: list[Message], ends: Iterable[str]) -> Rendered | None:
    """A conversation as its template writes it, with the spans of the assistant's turns.

    A turn goes from where the generation prompt ends, so that thoughts in front of the answer belong to it, to the first end
    mark behind its text, the mark included.

    Args:
        render: From messages, and `add_generation_prompt`, to text.
        messages: The conversation.
        ends: Special tokens, of which one ends a turn.

    Returns:
        None where the template does something to a message that brackets do not go through, such as dropping it, and where
        the assistant calls tools, of which brackets see nothing.

    Raises:
        ValueError: the template refuses the messages.
    """
    plain = render(messages).text
    spoken = [message for message in messages if message.get("role") == "assistant"]
    found = next((each for trim in _TRIMS if (each := _between_brackets(render, messages, trim, plain))), None)
    if found is None or len(found) != len(spoken) or any(message.get("tool_calls") for message in spoken):
        return None
    opening, spans = _generation_prompt(render, messages), []
    mark = re.compile(r"\s*(?:" + "|".join(re.escape(end) for end in sorted(ends, key=len, reverse=True)) + ")")
    for start, end in found:
        place = plain.rfind(opening, spans[-1][1] if spans else 0, start) if opening else -1
        closing = mark.match(plain, end)
        spans.append((start if place < 0 else place + len(opening), closing.end() if closing else end))
    return Rendered(plain, tuple(spans))


def finds_turns(tokenizer: Tokenizer) -> bool:
    """Whether the turns of plain conversations can be told apart under a tokenizer's own template."""
    ends = tokenizer.special_token_texts.values()
    try:
        return mark_turns(tokenizer.render, _PROBE, ends) is not None
    except ValueError:  # it wants conversations of another kind, which the data will show
        return True


def _between_brackets(
    render: Callable[..., Rendered], messages: list[Message], trim: Callable[[str], str], plain: str
) -> tuple[tuple[int, int], ...] | None:
    try:
        found = render([_in_brackets(message, trim) for message in messages])
    except ValueError:  # the template cut a bracket off
        return None
    return found.assistant_spans if found.text == plain else None


def _in_brackets(message: Message, trim: Callable[[str], str]) -> Message:
    content = message.get("content")
    if message.get("role") != "assistant" or not isinstance(content, str):
        return message
    thoughts, mark, answer = content.rpartition(_THOUGHTS)
    return {**message, "content": thoughts + mark + bracketed(trim(answer))}


def _generation_prompt(render: Callable[..., Rendered], messages: list[Message]) -> str:
    """What the template writes where the assistant is to speak next; nothing for templates without."""
    last = max((number for number, each in enumerate(messages) if each.get("role") == "user"), default=-1)
    if last < 0:
        return ""
    text = render(messages[: last + 1]).text
    prompted = render(messages[: last + 1], add_generation_prompt=True).text
    return prompted.removeprefix(text) if prompted.startswith(text) else ""
