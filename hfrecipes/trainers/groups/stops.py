"""Where answers end that TRL drew further: at texts, for any tokenizer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any


def length_to_stop(ids: Sequence[int], tokenizer: Any, strings: Sequence[str]) -> int | None:
    """Tokens of an answer up to the one that completes the first of some texts; None where none of them comes.

    Args:
        ids: The answer.
        tokenizer: Of the tokens.
        strings: The texts.
    """

    def has_stop(count: int) -> bool:
        text = tokenizer.decode(ids[:count], skip_special_tokens=True)
        return any(stop in text for stop in strings)

    if not has_stop(len(ids)):
        return None
    # What a beginning has, all that is longer has too.
    return bisect_left(range(len(ids)), True, key=has_stop)
