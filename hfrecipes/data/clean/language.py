"""The rule `language`: documents in the languages that are wanted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

from hfrecipes.data.clean.identification import CODES, NO_LANGUAGE, language_probabilities, missing
from hfrecipes.data.clean.rule import KEPT, Document, Verdict
from hfrecipes.recipe.cleaning import Language
from hfrecipes.recipe.problem import Problem, RecipeError

_EDITION = 1
_MIN_PROBABILITY = 0.65  # FineWeb's (Penedo et al. 2024, section 3.3), there of fastText
_MISTAKEN = {"cn": "zh", "jp": "ja", "kr": "ko", "gr": "el", "cz": "cs", "dk": "da", "ua": "uk", "nb": "no", "in": "id"}

# Long documents are looked at in three places: a language shows in a few sentences, and a header may be in another.
_WINDOW = 600
_WINDOWS = 3
# Addresses, tags and numbers are in no language, yet full of letters that look like English.
_NO_TEXT = re.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\w+|</?[A-Za-z][^<>\n]{0,200}>|[\d_#*=|\\/`~^+<>-]+")


class LanguageRule:
    """Keeps documents that are, with enough probability, in one of the languages that are wanted.

    The probabilities of all that are wanted add up, so that text that mixes two of them is kept. Of several texts the whole
    is looked at. A word or two seldom have a language: such rows are left out with the reason `min_probability` unless it is
    low; those without a letter with `no_letters`.

    Args:
        settings: What the recipe says.
        where: Its place in the recipe, for errors.

    Raises:
        RecipeError: where no language is named, or one that the model does not know.
    """

    name = "language"
    columns: tuple[str, ...] = ()

    def __init__(self, settings: Language, where: str = "data.clean") -> None:
        _check(settings.languages or [], where)
        self._where = where
        self._languages = frozenset(settings.languages or [])
        told = settings.min_probability
        self._min_probability = _MIN_PROBABILITY if told is None else told

    @cached_property
    def fingerprint(self) -> str:
        try:
            return f"{_EDITION} py3langid {version('py3langid')} {self._min_probability}"
        except PackageNotFoundError:
            raise missing(self._where) from None

    def judge(self, documents: Sequence[Document]) -> list[Verdict]:
        return [self._judge(document.text) for document in documents]

    def _judge(self, text: str) -> Verdict:
        sample = _sample(text)
        if not any(map(str.isalpha, sample)):
            return Verdict(reason="no_letters", detail="no text in any language")
        probabilities = language_probabilities(sample, self._where)
        wanted = sum(probabilities[language] for language in self._languages)
        if wanted >= self._min_probability:
            return KEPT
        best = max(probabilities, key=probabilities.__getitem__)
        names = "no language" if best == NO_LANGUAGE else best
        detail = f"{names} {probabilities[best]:.2f}, wanted {', '.join(sorted(self._languages))}: {wanted:.2f}"
        detail += f" of at least {self._min_probability:g}"
        sure = best not in self._languages and probabilities[best] >= self._min_probability
        return Verdict(reason="languages" if sure else "min_probability", detail=detail)


def _check(languages: list[str], where: str) -> None:
    if not languages:
        raise RecipeError(
            Problem(where, "the rule language has no languages", "say which to keep: languages: [en, zh]")
        )
    problems = []
    for language in languages:
        if language not in CODES:
            guess = _MISTAKEN.get(language, "")
            fix = f"did you mean {guess}?" if guess else "use ISO 639-1 codes, such as en, zh, de, ja"
            problems.append(Problem(where, f"languages: {language!r} is no language that can be told apart", fix))
    if problems:
        raise RecipeError(problems)


def _sample(text: str) -> str:
    """What is looked at of a text: all of a short one, else its beginning, middle and end."""
    if len(text) > _WINDOW * _WINDOWS:
        last = len(text) - _WINDOW
        starts = [last * place // (_WINDOWS - 1) for place in range(_WINDOWS)]
        text = "\n".join(text[start : start + _WINDOW] for start in starts)
    return _NO_TEXT.sub(" ", text)
