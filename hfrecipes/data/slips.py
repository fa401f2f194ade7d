"""Words in data that are a slip of the pen, where any word is allowed and a few are known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

# Above it, one or two letters of a long word are wrong: clarifcaton is a slip, and classification (0.89) another word.
_ALIKE = 0.9


def meant_by(word: str, known: Iterable[str]) -> str | None:
    """The known word that another one is a slip of, by its case or a letter or two; None for other words.

    Far stricter than what suggests a word to a person who has written one that cannot be right: this one may be.
    """
    return next((each for each in known if _is_slip(word.casefold(), each)), None)


def _is_slip(word: str, meant: str) -> bool:
    """Whether two words are equal but for a letter more, less or other, two that are swapped, or a small share of all."""
    if SequenceMatcher(None, word, meant).ratio() >= _ALIKE:
        return True
    begin = next((i for i, (a, b) in enumerate(zip(word, meant, strict=False)) if a != b), min(len(word), len(meant)))
    word, meant = word[begin:], meant[begin:]
    swapped = word[:2] == meant[1::-1] and word[2:] == meant[2:]
    return word[1:] == meant[1:] or word[1:] == meant or word == meant[1:] or swapped
