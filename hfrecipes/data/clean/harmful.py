"""Harmful content: documents left out by a list of words, by a classifier of one's own, or by both."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hfrecipes.data.clean.rule import KEPT, Document, Verdict
from hfrecipes.data.clean.word_lists import WordList, read_lines
from hfrecipes.data.clean.words import count_words
from hfrecipes.data.functions import function_fingerprint, load_function
from hfrecipes.recipe.cleaning import HarmfulContent
from hfrecipes.recipe.problem import Problem, RecipeError

Classifier = Callable[[list[str]], Any]

_OUR_LIST = Path(__file__).with_name("harmful_words.txt")
_MAX_WORDS, _MAX_WORDS_SHARE, _MAX_PROBABILITY = 3, 0.01, 0.5
_SHOWN = 5


class HarmfulContentRule:
    """Leaves out documents with more words of a list than are allowed, or that a classifier finds harmful.

    Reasons are `listed_words` (their number), `listed_words_share` and `classifier`. Where a recipe names a classifier and
    no list, the classifier decides alone.

    Args:
        settings: The words of the recipe; `word_list` is a path that leads to the file from here.
        where: Its place in the recipe, for problems.
        folder: The recipe's folder: a file in it comes before an installed module.
        classifier: The function itself, where it is at hand; else it is loaded by its name.

    Raises:
        RecipeError: the list cannot be read.
    """

    name = "harmful"
    columns: tuple[str, ...] = ()

    def __init__(
        self,
        settings: HarmfulContent,
        where: str = "",
        folder: Path | None = None,
        classifier: Classifier | None = None,
    ) -> None:
        self.where, self.folder = where, folder
        self.dotted = settings.classifier
        self._classifier = classifier
        self.max_words = _or(settings.max_words, _MAX_WORDS)
        self.max_words_share = _or(settings.max_words_share, _MAX_WORDS_SHARE)
        self.max_probability = _or(settings.max_probability, _MAX_PROBABILITY)
        about_words = (settings.word_list, settings.max_words, settings.max_words_share)
        alone = self.dotted is not None and all(word is None for word in about_words)
        path = _OUR_LIST if settings.word_list is None else settings.word_list
        self.words = None if alone else WordList(line for _, line in read_lines(path, where))

    @property
    def fingerprint(self) -> str:
        """Changes with the list and with the file that holds the classifier."""
        listed = self.words.fingerprint if self.words else "no list"
        return (
            f"{listed} {function_fingerprint(self.dotted, self.folder, self.where) if self.dotted else 'no classifier'}"
        )

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        """One verdict for each document, in their order.

        Raises:
            RecipeError: the classifier fails, or returns something else than a probability for each text.
        """
        verdicts = [self._by_words(document) for document in documents]
        if self.dotted is None and self._classifier is None:
            return verdicts
        left = [index for index, verdict in enumerate(verdicts) if verdict.reason is None]
        found = self._probabilities([documents[index] for index in left])
        for index, probability in zip(left, found, strict=True):
            if probability > self.max_probability:
                detail = f"probability {probability:.3f}, at most {self.max_probability:g} allowed"
                verdicts[index] = replace(verdicts[index], reason="classifier", detail=detail)
        return verdicts

    def _by_words(self, document: Document) -> Verdict:
        if self.words is None:
            return KEPT
        entries, covered = self.words.find(document.text)
        if not entries:
            return KEPT
        share = covered / max(1, count_words(document.text).words)
        if len(entries) > self.max_words:
            reason = "listed_words"
        elif share > self.max_words_share:
            reason = "listed_words_share"
        else:
            return Verdict(counts={"listed_words": len(entries)})
        most = ", ".join(entry for entry, _ in Counter(entries).most_common(_SHOWN))
        detail = f"{len(entries)} on the list, {share:.1%} of the words: {most}"
        return Verdict(reason=reason, counts={"listed_words": len(entries)}, detail=detail)

    def _probabilities(self, documents: list[Document]) -> list[float]:
        if not documents:
            return []
        function = self._classifier or load_function(self.dotted or "", self.folder, self.where)
        try:
            returned = function([document.text for document in documents])
        except (Exception, SystemExit) as error:  # a user's function can fail in any way
            message = f"{self._named} fails on {_rows(documents)}: {type(error).__name__}: {error}"
            raise RecipeError(Problem(self.where, message, "correct the function")) from error
        try:
            values = list(returned)
        except TypeError as error:
            raise self._bad(f"returns {type(returned).__name__}, not a list") from error
        if len(values) != len(documents):
            raise self._bad(f"returns {len(values)} values for {len(documents)} texts")
        return [self._probability(document, value) for document, value in zip(documents, values, strict=True)]

    def _probability(self, document: Document, value: Any) -> float:
        try:
            number = math.nan if isinstance(value, str | bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number <= 1:
            raise self._bad(f"returns {str(value)[:40]!r} ({type(value).__name__}) for {document.where}")
        return number

    @property
    def _named(self) -> str:
        return self.dotted or "the classifier"

    def _bad(self, what: str) -> RecipeError:
        fix = "return a list with one number from 0 to 1 for each text, the probability that it is harmful"
        return RecipeError(Problem(self.where, f"{self._named} {what}", fix))


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _rows(documents: list[Document]) -> str:
    first, last = documents[0].where, documents[-1].where
    return first if first == last else f"{first} to {last}"
