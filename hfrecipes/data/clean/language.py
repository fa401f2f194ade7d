"""Which language a document is in, by py3langid: a naive Bayes classifier whose model comes in the package."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from hfrecipes.data.clean.rule import KEPT, Document, Verdict
from hfrecipes.recipe.cleaning import Language
from hfrecipes.recipe.problem import Problem, RecipeError

_EDITION = 1
_MIN_PROBABILITY = 0.65  # FineWeb's (Penedo et al. 2024, section 3.3), there of fastText
# What the model tells apart and has an ISO 639-1 code. Without its creoles and historical languages, which short texts of
# their big relatives are taken for: among these alone the probability of a text is spread less.
_CODES = """
    af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi
    hr ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl nn no
    oc om or pa pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi
    vo wa xh yo zh zu
"""
CODES = frozenset(_CODES.split())
# Labels that are counted as another where they are not asked for: what is written in them is mostly the standard language.
_VARIETIES = {"wuu": "zh", "yue": "zh", "ary": "ar", "arz": "ar", "uzs": "uz", "sdh": "ku"}
_NO_LANGUAGE = "zxx"
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
            raise _missing(self._where) from None

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
        names = "no language" if best == _NO_LANGUAGE else best
        detail = f"{names} {probabilities[best]:.2f}, wanted {', '.join(sorted(self._languages))} {wanted:.2f}"
        sure = best not in self._languages and probabilities[best] >= self._min_probability
        return Verdict(reason="languages" if sure else "min_probability", detail=detail)


def language_probabilities(text: str, where: str = "data.clean") -> Counter[str]:
    """Probability by ISO 639-1 code, and `zxx` for what is in no language. They add up to 1.

    py3langid's raw scores are log-likelihoods that grow with the length of a text. It is asked for its own normalised ones:
    a softmax of the scores over the square root of the bytes, over the languages of `CODES` alone.

    Args:
        text: What is looked at, all of it.
        where: The place in the recipe, for errors.

    Raises:
        RecipeError: where py3langid is not installed.
    """
    probabilities: Counter[str] = Counter()
    for label, probability in _identifier(where).rank(text):
        probabilities[_VARIETIES.get(label, label)] += probability
    return probabilities


@lru_cache(maxsize=1)
def _load() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    candidates = CODES | set(_VARIETIES) | {_NO_LANGUAGE}
    identifier.set_languages(candidates.intersection(identifier.labels))
    return identifier


def _identifier(where: str) -> Any:
    try:
        return _load()
    except ImportError:
        raise _missing(where) from None


def _missing(where: str) -> RecipeError:
    return RecipeError(Problem(where, "the rule language needs py3langid", "pip install 'hfrecipes[clean]'"))


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
