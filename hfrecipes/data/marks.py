"""Marks with which a chat template tells turns apart: what a message must not hold, since it could then begin a turn itself."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from hfrecipes.data.messages import Message, strings, turn
from hfrecipes.tokenization.tokenizer import Tokenizer

# Words that stand in for what is said; no template writes them.
_SAID = "qzsaidqz"
_CALL = {"type": "function", "function": {"name": _SAID, "arguments": {_SAID: _SAID}}}
_TOOL = {"type": "function", "function": {"name": _SAID, "description": _SAID, "parameters": {"type": "object"}}}
_QUESTION, _ANSWER = turn("user", _SAID), turn("assistant", _SAID)
# Conversations that between them show every mark; a template may refuse some of them.
_PROBES: tuple[tuple[list[Message], list[dict[str, Any]] | None], ...] = (
    ([_QUESTION, _ANSWER, _QUESTION, _ANSWER], None),
    ([turn("system", _SAID), _QUESTION, _ANSWER], None),
    ([_QUESTION, _ANSWER, turn("system", _SAID), _QUESTION], None),
    ([_QUESTION, {"role": "assistant", "content": "", "tool_calls": [_CALL]}, turn("tool", _SAID), _ANSWER], [_TOOL]),
)


def forged_mark(value: Any, tokenizer: Tokenizer, template: str | None) -> str | None:
    """A mark of the chat template that stands in a message or a tool, so that it could end its turn and begin another.

    Marks are the special tokens that the template writes, BOS and EOS, and, of a template that tells turns apart by
    plain text (`[/INST]`), what it writes between them. Other special tokens (`<unk>`, `[MASK]`, `<image>`) begin no turn.

    Args:
        value: A message, or a part of one, or a tool; keys and nested strings are looked through.
        tokenizer: Reads the rendered text.
        template: The template used instead of the tokenizer's own.
    """
    pattern = _pattern(tokenizer, template)
    if pattern is None:
        return None
    return next((found.group() for text in strings(value) if (found := pattern.search(text))), None)


@lru_cache(maxsize=16)
def _pattern(tokenizer: Tokenizer, template: str | None) -> re.Pattern[str] | None:
    specials = set(tokenizer.special_token_texts.values())
    marks = {mark for mark in (tokenizer.bos_token, tokenizer.eos_token) if mark}
    plain = set()
    for messages, tools in _PROBES:
        try:
            written = tokenizer.render(messages, tools=tools, add_generation_prompt=True, chat_template=template).text
        except ValueError:  # it takes no such conversation
            continue
        pieces = written.split(_SAID)
        marks |= {special for special in specials if any(special in piece for piece in pieces)}
        if tools is None:
            plain |= {_plain_mark(piece) for piece in pieces[1:-1] if not any(mark in piece for mark in specials)}
    patterns = [re.escape(mark) for mark in sorted(marks, key=len, reverse=True)] + sorted(plain - {""})
    return re.compile("|".join(patterns)) if patterns else None


def _plain_mark(between: str) -> str:
    """The pattern of what tells two turns apart where no special token does; empty where only white space does.

    A mark that begins a line (`User:`) is one at the beginning of a line only.
    """
    mark = between.strip()
    begins_line = "\n" in between[: len(between) - len(between.lstrip())]
    return f"(?m:^{re.escape(mark)})" if mark and begins_line else re.escape(mark)
