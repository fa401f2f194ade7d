"""Gopher's quality heuristics, and those of The Stack for code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from hfrecipes.data.clean.limits import EMPTY, Figure, first_fault
from hfrecipes.data.clean.profiles import fingerprint_of, with_profile
from hfrecipes.data.clean.rule import Document, Verdict
from hfrecipes.data.clean.words import count_words, split_chunks, split_words, unify_line_ends
from hfrecipes.recipe.cleaning import GopherQuality
from hfrecipes.recipe.problem import Problem, RecipeError

_EDITION = 1
_ELLIPSES = ("...", "…")
_BULLETS = ("•", "-")
_NOT_ALPHANUMERIC = bytes(code for code in range(128) if not chr(code).isalnum())
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


class GopherQualityRule:
    """Leaves out documents that are too short or long, or whose words are not those of running text.

    Of several texts the whole is judged. Reasons are the recipe's words for the thresholds, in the order in which datatrove
    looks at them.

    Args:
        settings: What the recipe says.
        where: Its place in the recipe, for errors.

    Raises:
        RecipeError: for limits that no document could keep, or more stop words asked for than there are.
    """

    name = "gopher_quality"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: GopherQuality, where: str = "data.clean") -> None:
        self.limits = with_profile(settings)
        _check(self.limits, where)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint_of(self.limits, _EDITION)

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        return [self._judge(document.text) for document in documents]

    def _judge(self, text: str) -> Verdict:
        return first_fault(_figures(text, self.limits)) if text and not text.isspace() else EMPTY


def _check(limits: GopherQuality, where: str) -> None:
    problems = []
    for low, high in (("min_words", "max_words"), ("min_mean_word_length", "max_mean_word_length")):
        least, most = getattr(limits, low), getattr(limits, high)
        if least is not None and most is not None and least > most:
            problems.append(Problem(where, f"{low} {least} is above {high} {most}", "no document could keep both"))
    wanted, known = limits.min_stop_words or 0, len(set(limits.stop_words or ()))
    if wanted > known:
        problems.append(
            Problem(
                where, f"min_stop_words is {wanted} of {known} stop words", "give more stop_words, or ask for fewer"
            )
        )
    if problems:
        raise RecipeError(problems)


def _figures(text: str, limits: GopherQuality) -> Iterator[Figure]:
    counts = count_words(text)
    yield Figure("min_words", counts.words, limits.min_words, "words")
    yield Figure("max_words", counts.words, limits.max_words, "words")
    mean = counts.characters / counts.words if counts.words else 0.0
    yield Figure("min_mean_word_length", mean, limits.min_mean_word_length, "mean word length")
    yield Figure("max_mean_word_length", mean, limits.max_mean_word_length, "mean word length")
    tokens = max(counts.tokens, 1)
    yield Figure("max_symbol_ratio", text.count("#") / tokens, limits.max_symbol_ratio, "hash signs a word")
    ellipses = sum(map(text.count, _ELLIPSES))
    yield Figure("max_symbol_ratio", ellipses / tokens, limits.max_symbol_ratio, "ellipses a word")
    lines = unify_line_ends(text).splitlines()
    if limits.max_bullet_lines is not None:
        bullets = sum(line.lstrip().startswith(_BULLETS) for line in lines)
        yield Figure("max_bullet_lines", bullets / len(lines), limits.max_bullet_lines, "lines with a bullet")
    if ellipses:
        ended = sum(line.rstrip().endswith(_ELLIPSES) for line in lines)
        yield Figure("max_ellipsis_lines", ended / len(lines), limits.max_ellipsis_lines, "lines that trail off")
    alphabetic = counts.alphabetic / tokens
    yield Figure("min_alphabetic_words", alphabetic, limits.min_alphabetic_words, "words with a letter")
    if limits.min_stop_words:
        found = _count_stop_words(text, frozenset(limits.stop_words or ()), limits.min_stop_words)
        yield Figure("min_stop_words", found, limits.min_stop_words, "different stop words")
    yield from _line_figures(text, lines, limits)


def _count_stop_words(text: str, stop_words: frozenset[str], enough: int) -> int:
    """Different stop words. Words between spaces are looked at first: mostly they are enough, and quickly found."""
    found = len(stop_words.intersection(split_chunks(text)))
    return found if found >= enough else len(stop_words.intersection(split_words(text)))


def _line_figures(text: str, lines: list[str], limits: GopherQuality) -> Iterator[Figure]:
    if limits.max_line_length is not None or limits.max_mean_line_length is not None:
        lengths = [len(line) for line in lines]
        yield Figure("max_line_length", max(lengths), limits.max_line_length, "longest line")
        mean = sum(lengths) / len(lengths)
        yield Figure("max_mean_line_length", mean, limits.max_mean_line_length, "mean line length")
    if limits.min_alphanumeric is not None:
        share = _count_alphanumeric(text) / len(text)
        yield Figure("min_alphanumeric", share, limits.min_alphanumeric, "letters and digits")


def _count_alphanumeric(text: str) -> int:
    """Letters and digits of any script. ASCII is counted in one go: a loop over source files takes twenty times as long."""
    plain = len(text.encode("ascii", "ignore").translate(None, _NOT_ALPHANUMERIC))
    return plain if text.isascii() else plain + sum(map(str.isalnum, "".join(_NOT_ASCII.findall(text))))
