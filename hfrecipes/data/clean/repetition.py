"""Gopher's repetition heuristics: repeated lines, paragraphs and n-grams."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from hfrecipes.data.clean.limits import EMPTY, Figure, first_fault
from hfrecipes.data.clean.ngrams import RepeatedNgrams
from hfrecipes.data.clean.profiles import fingerprint_of, with_profile
from hfrecipes.data.clean.rule import Document, Verdict
from hfrecipes.data.clean.words import unify_line_ends
from hfrecipes.recipe.cleaning import GopherRepetition
from hfrecipes.recipe.problem import Problem, RecipeError

_EDITION = 1
_BETWEEN_PARAGRAPHS = re.compile(r"\n{2,}")


class GopherRepetitionRule:
    """Leaves out documents that repeat their lines, paragraphs or n-grams of words.

    Of several texts the whole is judged. An n-gram that occurs once is much of a text of ten words, and the most frequent one:
    with the profiles for documents that leaves such texts out, as it does in the paper; with `code` and `instruction`, whose
    texts are often as short, only an n-gram that repeats is looked at.

    Args:
        settings: What the recipe says.
        where: Its place in the recipe, for errors.

    Raises:
        RecipeError: for n-grams whose n is no whole number from 1, or whose share is not between 0 and 1.
    """

    name = "gopher_repetition"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: GopherRepetition, where: str = "data.clean") -> None:
        self.limits = with_profile(settings)
        self._counts_single = settings.profile not in ("code", "instruction")
        self._top = _by_length("max_top_ngrams", self.limits.max_top_ngrams, where)
        self._duplicate = _by_length("max_duplicate_ngrams", self.limits.max_duplicate_ngrams, where)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint_of(self.limits, _EDITION)

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        return [self._judge(unify_line_ends(document.text)) for document in documents]

    def _judge(self, text: str) -> Verdict:
        return first_fault(self._figures(text)) if text and not text.isspace() else EMPTY

    def _figures(self, text: str) -> Iterator[Figure]:
        limits = self.limits
        if limits.max_duplicate_paragraphs is not None or limits.max_duplicate_paragraph_characters is not None:
            share, characters = _repeats(_split_paragraphs(text.strip()), len(text))
            yield Figure("max_duplicate_paragraphs", share, limits.max_duplicate_paragraphs, "repeated paragraphs")
            most = limits.max_duplicate_paragraph_characters
            yield Figure("max_duplicate_paragraph_characters", characters, most, "text in repeated paragraphs")
        share, characters = _repeats(list(filter(None, text.split("\n"))), len(text))
        yield Figure("max_duplicate_lines", share, limits.max_duplicate_lines, "repeated lines")
        most = limits.max_duplicate_line_characters
        yield Figure("max_duplicate_line_characters", characters, most, "text in repeated lines")
        if not self._top and not self._duplicate:
            return
        ngrams = RepeatedNgrams(text)
        for n, limit in self._top.items():
            value = ngrams.top(n) / len(text) if self._counts_single or ngrams.repeats(n) else 0
            yield Figure(f"max_top_ngrams.{n}", value, limit, f"text in the most frequent {n}-gram")
        if not self._duplicate or ngrams.covered(min(self._duplicate)) <= min(self._duplicate.values()) * len(text):
            return  # most documents: however their repeated n-grams are counted, they are too few for any limit
        for n, limit in self._duplicate.items():
            value = ngrams.duplicate(n) / len(text)
            yield Figure(f"max_duplicate_ngrams.{n}", value, limit, f"text in repeated {n}-grams")


def _by_length(word: str, limits: dict[Any, float] | None, where: str) -> dict[int, float]:
    """Limits by n, the shortest n-grams first. YAML has numbers for keys where JSON has strings."""
    by_length = {}
    for key, limit in (limits or {}).items():
        if not str(key).isdecimal() or int(key) < 1:
            raise RecipeError(
                Problem(where, f"{word}: {key!r} is no length of an n-gram", "a whole number, as in {2: 0.2}")
            )
        if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit <= 1:
            raise RecipeError(
                Problem(where, f"{word}.{key} is {limit!r}, which is no share", "a number from 0 to 1, as in {2: 0.2}")
            )
        by_length[int(key)] = limit
    return dict(sorted(by_length.items()))


def _split_paragraphs(text: str) -> list[str]:
    # The expression takes five times as long and is needed where several blank lines stand together.
    return _BETWEEN_PARAGRAPHS.split(text) if "\n\n\n" in text else text.split("\n\n")


def _repeats(pieces: Sequence[str], characters: int) -> tuple[float, float]:
    """The share of pieces that stood there before, and their share of all characters."""
    if len(distinct := set(pieces)) == len(pieces):
        return 0.0, 0.0
    return (len(pieces) - len(distinct)) / len(pieces), (_total(pieces) - _total(distinct)) / characters


def _total(pieces: Iterable[str]) -> int:
    return sum(map(len, pieces))
