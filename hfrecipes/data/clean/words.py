"""Words, lines and sentences of text in any script, fast enough to be counted in every document of a corpus.

Scripts that put no space between words (Han, kana, Thai, Lao, Khmer, Burmese, Tibetan) count by character; Korean, Arabic,
Hindi and all others by what stands between spaces. Text is cut at white space by `str.split`, and what each distinct chunk
consists of is looked up: the common ones of a corpus are taken apart once for each process.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Any, NamedTuple

from hfrecipes.data.clean.chunks import split_chunk

# With the signs above and below that belong to a letter: a Thai vowel is no word.
_SIGNS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3\u0f71-\u0f84\u3099\u309a"
_LETTERS = (
    "\u0e01-\u0e2e\u0e30-\u0e4f\u0e81-\u0edf\u0f40-\u0f6c\u1000-\u109f\u1780-\u17d3"
    "\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
)
_BY_CHARACTER = re.compile(f"[{_LETTERS}]")
_PIECE = re.compile(rf"[{_LETTERS}][{_SIGNS}]*|[^\s{_LETTERS}]+")
# Marks that end a sentence. Scripts in living use; the last three are Burmese, Khmer and Ethiopic.
SENTENCE_ENDS = frozenset(".!?。！？．｡﹒﹖﹗।॥؟۔։‼‽⁇⁈⁉။៕።")
_CLOSERS = frozenset("\"'”’»」』）)]}›》】")

_CACHED_CHUNKS = 300_000  # some 50 MB; a corpus has more, most of them seen once
_CACHED_LENGTH = 40  # longer chunks are addresses and data, seen once

# Four counts in one integer, so that a document's are one `sum`. None of them can reach 2**32: the text would not fit.
_FIELD = 32
_MASK = (1 << _FIELD) - 1


class Counts(NamedTuple):
    """What a document's words come to.

    Args:
        tokens: Words and marks.
        words: Those with a letter or a digit.
        characters: Characters of `words`.
        alphabetic: Those of the tokens that have a letter.
    """

    tokens: int
    words: int
    characters: int
    alphabetic: int


class ChunkTable(dict[str, Any]):
    """What is known of chunks. Asked for one that is new, it works it out; it is emptied when it is full."""

    def __init__(self, work_out: Any) -> None:
        self._work_out = work_out

    def __missing__(self, chunk: str) -> Any:
        value = self._work_out(chunk)
        if len(chunk) <= _CACHED_LENGTH:
            if len(self) >= _CACHED_CHUNKS:
                self.clear()
            self[chunk] = value
        return value


def _count_chunk(chunk: str) -> int:
    tokens = split_chunk(chunk)
    words = [token for token in tokens if token.isalnum() or any(map(str.isalnum, token))]
    alphabetic = sum(word.isalpha() or any(map(str.isalpha, word)) for word in words)
    characters = sum(map(len, words))
    return len(tokens) | len(words) << _FIELD | characters << 2 * _FIELD | alphabetic << 3 * _FIELD


_COUNTED = ChunkTable(_count_chunk)
_SPLIT = ChunkTable(split_chunk)


def split_chunks(text: str) -> list[str]:
    """The pieces between white space; each character of a script without spaces is a piece of its own."""
    if not text.isascii() and _BY_CHARACTER.search(text):
        return _PIECE.findall(text)
    return text.split()


def split_words(text: str) -> list[str]:
    """All words and marks of a text, in their order."""
    return list(chain.from_iterable(map(_SPLIT.__getitem__, split_chunks(text))))


def count_words(text: str) -> Counts:
    """How many words and marks a text has, and their letters, without making a list of them."""
    packed = sum(map(_COUNTED.__getitem__, split_chunks(text)))
    return Counts(*(packed >> shift * _FIELD & _MASK for shift in range(4)))


def count_sentences(text: str) -> int:
    """How many sentences a text has: runs of words up to marks that end a sentence.

    Full stops inside numbers, addresses and abbreviations end none, and the last sentence needs no mark.
    """
    sentences, ended = 0, True
    for word in split_words(text):
        if word in SENTENCE_ENDS:
            ended = True if sentences else ended
        elif ended and (word.isalnum() or any(map(str.isalnum, word)) or not sentences):
            sentences += 1
            ended = False
    return sentences


def unify_line_ends(text: str) -> str:
    """The text with the line ends of Windows and old Macs as line feeds."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
