"""Which words a dictionary knows, by the word lists of pyspellchecker."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

# Those that pyspellchecker ships. Arabic, Persian, Basque and Latvian are left out: its lists of them are short.
LANGUAGES = frozenset({"de", "en", "es", "fr", "it", "nl", "pt", "ru"})
_PARTS = re.compile(r"['\-]")


def count_known(words: Sequence[str], language: str) -> int:
    """How many of the words are known.

    A word with a hyphen or an apostrophe is known where it stands in the list itself or its parts of three letters and
    more do (`l'homme`, `well-known`).

    Args:
        words: In lower case.
        language: One of `LANGUAGES`.

    Raises:
        ImportError: pyspellchecker is not installed.
    """
    known = _dictionary(language)
    return sum(_is_known(word.replace("’", "'"), known) for word in words)


def _is_known(word: str, known: frozenset[str]) -> bool:
    if word in known:
        return True
    parts = [part for part in _PARTS.split(word) if len(part) > 2]
    return parts != [word] and bool(parts) and all(part in known for part in parts)


@cache
def _dictionary(language: str) -> frozenset[str]:
    from spellchecker import SpellChecker

    return frozenset(SpellChecker(language=language).word_frequency.dictionary)
