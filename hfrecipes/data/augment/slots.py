"""Which strings of an example may be changed, and what of it has to stay."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

from hfrecipes.data.formats import Example

# A place in an example, as keys and indices from the outside in.
Place = tuple[str | int, ...]


def changeable_places(example: Example) -> list[Place]:
    """The places of the strings that may be changed: the input, never what is learnt to be said.

    Of a prompt, all of it, or the user's turns where it is a conversation; of messages, the user's turns; of plain text,
    the text. Completions, labels, the assistant's, tools' and system's messages stay.
    """
    if "prompt" in example:
        return list(_places(example["prompt"], ("prompt",)))
    if "messages" in example:
        return list(_places(example["messages"], ("messages",)))
    return [("text",)] if isinstance(example.get("text"), str) else []


def take(example: Example, places: Sequence[Place]) -> tuple[str, ...]:
    """The strings at these places."""
    return tuple(_get(example, place) for place in places)


def put(example: Example, places: Sequence[Place], texts: Sequence[str]) -> Example:
    """A copy of an example with other strings at these places."""
    changed = copy.deepcopy(example)
    for place, text in zip(places, texts, strict=True):
        _get(changed, place[:-1])[place[-1]] = text
    return changed


def answers(example: Example) -> list[str]:
    """The strings that the model has to say, which its input may quote."""
    if isinstance(completion := example.get("completion"), str):
        return [completion]
    turns = completion if isinstance(completion, list) else example.get("messages", [])
    turns = [turn for turn in turns if isinstance(turn, dict) and turn.get("role") == "assistant"]
    preferred = [value for value in (example.get("chosen"), example.get("label")) if isinstance(value, str)]
    return [*preferred, *(turn["content"] for turn in turns if isinstance(turn.get("content"), str))]


def skeleton(example: Example, places: Sequence[Place]) -> str:
    """All of an example but the strings at these places: equal before and after any change that is allowed."""
    return json.dumps(put(example, places, [""] * len(places)), sort_keys=True, ensure_ascii=False, default=str)


def _places(cell: Any, place: Place) -> Iterator[Place]:
    if isinstance(cell, str):
        yield place
    for index, message in enumerate(cell if isinstance(cell, list) else []):
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            yield (*place, index, "content")
        for part, item in enumerate(content if isinstance(content, list) else []):
            if isinstance(item, dict) and isinstance(item.get("text"), str):
                yield (*place, index, "content", part, "text")


def _get(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value
