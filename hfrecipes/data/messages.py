"""Messages of a conversation: ShareGPT's words put into the usual ones, and what is wrong with a cell of text or messages."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any

Message = dict[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool")
# How data sets of conversations name those who speak (ShareGPT, Open Assistant, Vicuna).
_ROLE_NAMES = {"human": "user", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}
# Categories of characters that show nothing: separators, controls, and formats such as U+200B.
_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})
_WORDS = {"from": "role", "value": "content"}


def turn(role: str, content: str) -> Message:
    """One message."""
    return {"role": role, "content": content}


def usual_words(cell: Any, roles: bool = False) -> Any:
    """Messages in the words `role` and `content`; anything that is no list of dictionaries as it is.

    Args:
        cell: What stands in a column of messages.
        roles: Whether roles get their usual names, too (human: user, gpt: assistant). Messages that say `from` are
            ShareGPT's, whose roles always do.
    """
    if not isinstance(cell, list) or not all(isinstance(message, dict) for message in cell):
        return cell
    return [_usual_message(message, roles) for message in cell]


def usual_role(role: str) -> str | None:
    """What other data sets' names of those who speak (human, gpt …) are called in chat templates; None for other words."""
    return _ROLE_NAMES.get(role.lower())


def check_cell(name: str, cell: Any) -> str | None:
    """What is wrong with a cell that should hold text or messages; None where nothing is.

    Args:
        name: Our name of the column: `text` holds a string, `messages` a list, all others either.
        cell: What stands in it.
    """
    if isinstance(cell, list) and name != "text":
        return check_messages(cell)
    if isinstance(cell, str) and name != "messages":
        return text_fault(cell)
    wanted = {"text": "a string", "messages": "a list of messages"}.get(name, "a string or a list of messages")
    return f"is {kind_of(cell)} where {wanted} is expected"


def check_messages(messages: list[Any]) -> str | None:
    """What is wrong with a list of messages; None where nothing is."""
    if not messages:
        return "is an empty list"
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict):
            return f"message {number} is {kind_of(message)}, not a dictionary with role and content"
        if not isinstance(message.get("role"), str) or not message["role"]:
            return f"message {number} has no role"
        fault = _content_fault(message) or next(filter(None, map(markup_fault, strings(message))), None)
        if fault:
            return f"message {number} {fault}"
    return None


def check_roles(messages: list[Message]) -> str | None:
    """Which message speaks in a role that no chat template knows; None where none does."""
    for number, message in enumerate(messages, start=1):
        if message["role"] not in ROLES:
            return f"message {number} has the role {message['role']!r}; the roles are {', '.join(ROLES)}"
    return None


def text_fault(text: str) -> str | None:
    """What is wrong with a text; None where nothing is."""
    return surrogate_fault(text) if is_visible(text) else "is empty"


def is_visible(text: str) -> bool:
    """Whether a text holds anything that a person could see: white space, zero-width and control characters show nothing."""
    return not text.isspace() and any(unicodedata.category(character) not in _INVISIBLE for character in text)


def surrogate_fault(text: str) -> str | None:
    """Where a string holds half a character; None where it holds none."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"holds half of a surrogate pair (character {error.start}), which is no text"
    return None


def markup_fault(text: str) -> str | None:
    """What keeps a string out of a chat template, which joins it with marks of its own."""
    position = text.find("\x00")
    if position >= 0:
        return f"holds a NUL (character {position}), which has no place in a conversation"
    return surrogate_fault(text)


def strings(value: Any) -> Iterator[str]:
    """All strings in a cell, keys and nested ones included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def listed(columns: Iterable[str]) -> str:
    """Names of columns for a message, those that begin or end in white space in quotes."""
    return ", ".join(repr(name) if name != name.strip() else name for name in columns)


def kind_of(value: Any) -> str:
    """What a value is, for a message: `None`, `NaN, a missing value,`, `a list`."""
    if value is None:
        return "None"
    if isinstance(value, float) and math.isnan(value):
        return "NaN, a missing value,"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def is_missing(value: Any) -> bool:
    """Whether a cell stands for no value: None, or the NaN that data frames write."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _usual_message(message: Message, roles: bool) -> Message:
    # Arrow fills the keys that a message lacks with None; a chat template would print them.
    usual = {_WORDS.get(key, key): item for key, item in message.items() if item is not None}
    role = usual.get("role")
    if isinstance(role, str) and (roles or "from" in message):
        usual["role"] = _ROLE_NAMES.get(role.lower(), role.lower() if role.lower() in ROLES else role)
    return usual


def _content_fault(message: Message) -> str | None:
    content = message.get("content")
    # A turn that only calls tools has no content of its own, nor has one that only thinks.
    silent = any(message.get(key) for key in ("tool_calls", "reasoning_content", "thinking"))
    if content is None and not silent:
        return "has no content"
    if content is not None and not isinstance(content, str | list):
        return f"has {kind_of(content)} as content, not a string"
    if message["role"] == "assistant" and not silent and _says_nothing(content):
        return "is the assistant's and says nothing"
    return None


def _says_nothing(content: str | list[Any]) -> bool:
    if isinstance(content, str):
        return not is_visible(content)
    # A part that is no text, such as an image, says something.
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return len(texts) == len(content) and not any(isinstance(text, str) and is_visible(text) for text in texts)
