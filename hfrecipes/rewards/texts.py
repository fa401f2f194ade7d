"""Completions as rewards receive them: texts, or the messages of a conversation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

UNITS = ("words", "characters", "tokens")

Message = dict[str, Any]
Completion = str | list[Message]


def text_of(completion: Completion) -> str:
    """What the model wrote: the text itself, or what the assistant says in it, turn by turn; tool calls and results are left out.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(completion, str):
        return completion
    if not isinstance(completion, list) or not all(isinstance(message, dict) for message in completion):
        raise ValueError(f"a completion is a text or a list of messages, not {type(completion).__name__}")
    said = [message.get("content") for message in completion if message.get("role") == "assistant"]
    return "\n".join(_content_text(content) for content in said if content)


def units_of(completion: Completion, unit: str, ids: Sequence[int] | None) -> Sequence[Any]:
    """A completion cut into words (between white space), characters, or the tokens that the model wrote.

    Raises:
        ValueError: where tokens are asked for and the trainer gives none.
    """
    if unit == "tokens":
        if ids is None:
            raise ValueError(
                "unit: tokens needs completion_ids, which this trainer does not give; take words or characters"
            )
        return ids
    text = text_of(completion)
    return text.split() if unit == "words" else text


def check_unit(unit: str) -> None:
    """Makes sure that a unit is one of `UNITS`.

    Raises:
        ValueError: where it is not.
    """
    if unit not in UNITS:
        raise ValueError(f"unit is one of {', '.join(UNITS)}, not {unit!r}")


def check_number(name: str, value: Any) -> None:
    """Makes sure that what a word says is a number and not an endless one.

    Raises:
        ValueError: where it is not.
    """
    try:
        known = isinstance(value, Real) and not isinstance(value, bool) and not math.isinf(value)
    except OverflowError:  # a whole number of hundreds of digits
        known = False
    if not known:
        raise ValueError(f"{name} is a number, not {repr(value)[:40]}")


def _content_text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "".join(part["text"] for part in content if part.get("type") == "text")
    raise ValueError(f"the content of a message is a text or a list of parts, not {type(content).__name__}")
