"""FineWeb's own filters: lists, menus and boilerplate, told by their lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import filterfalse
from operator import itemgetter

from hfrecipes.data.clean.limits import EMPTY, Figure, first_fault
from hfrecipes.data.clean.profiles import fingerprint_of, with_profile
from hfrecipes.data.clean.rule import Document, Verdict
from hfrecipes.data.clean.words import SENTENCE_ENDS, count_words, unify_line_ends
from hfrecipes.recipe.cleaning import FineWebQuality

_EDITION = 1
# Chinese and Japanese sentences end before a closing quotation mark, and so do quoted ones in print.
_LINE_ENDS = SENTENCE_ENDS | {"”", "」", "』"}
_LAST = itemgetter(-1)


class FineWebQualityRule:
    """Leaves out documents with few lines that end a sentence, many short or repeated lines, or many line breaks.

    Of several texts the whole is judged. Blank lines count for line breaks only.

    Args:
        settings: What the recipe says.
        where: Its place in the recipe; nothing in these settings can be at odds.
    """

    name = "fineweb_quality"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: FineWebQuality, where: str = "data.clean") -> None:
        self.limits = with_profile(settings)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint_of(self.limits, _EDITION)

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        return [self._judge(unify_line_ends(document.text)) for document in documents]

    def _judge(self, text: str) -> Verdict:
        return first_fault(_figures(text, self.limits)) if text and not text.isspace() else EMPTY


def _figures(text: str, limits: FineWebQuality) -> Iterator[Figure]:
    # `map` and `filter` instead of comprehensions, which would take three times as long
    lines = list(filterfalse(str.isspace, filter(None, text.split("\n"))))
    ended = sum(map(_LINE_ENDS.__contains__, map(_LAST, lines))) / len(lines)
    yield Figure("min_punctuated_lines", ended, limits.min_punctuated_lines, "lines that end a sentence")
    if limits.max_short_lines is not None and limits.short_line_length is not None:
        longest = limits.short_line_length
        short = sum(map(longest.__ge__, map(len, lines))) / len(lines)
        yield Figure("max_short_lines", short, limits.max_short_lines, f"lines of at most {longest} characters")
    repeated = _repeated_characters(lines) / (len(text) - text.count("\n"))
    yield Figure(
        "max_duplicate_line_characters", repeated, limits.max_duplicate_line_characters, "text in repeated lines"
    )
    if limits.max_newlines_per_word is not None:
        breaks = text.count("\n") / count_words(text).tokens
        yield Figure("max_newlines_per_word", breaks, limits.max_newlines_per_word, "line breaks a word")


def _repeated_characters(lines: list[str]) -> int:
    distinct = set(lines)
    return 0 if len(distinct) == len(lines) else sum(map(len, lines)) - sum(map(len, distinct))
