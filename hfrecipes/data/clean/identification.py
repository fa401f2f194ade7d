"""Which language a text is in, by py3langid: a naive Bayes classifier whose model comes in the package."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import Any

from hfrecipes.recipe.problem import Problem, RecipeError

# What the model tells apart and has an ISO 639-1 code. Without its creoles and historical languages, which short texts of
# their big relatives are taken for: among these alone the probability of a text is spread less.
_CODES = """
    af am an ar as az ba be bg bn br bs ca cs cy da de dz el en eo es et eu fa fi fo fr fy ga gd gl gu ha he hi
    hr ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lg ln lo lt lv mg mk ml mn mr ms mt my ne nl nn no
    oc om or pa pl ps pt qu ro ru rw sa se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk ur uz vi
    vo wa xh yo zh zu
"""
CODES = frozenset(_CODES.split())
NO_LANGUAGE = "zxx"
# Labels that are counted as another where they are not asked for: what is written in them is mostly the standard language.
_VARIETIES = {"wuu": "zh", "yue": "zh", "ary": "ar", "arz": "ar", "uzs": "uz", "sdh": "ku"}
# More adds nothing to the identification of a language, and time to it.
_CHARACTERS = 2000


def identify(text: str) -> tuple[str, float]:
    """The most probable language of the beginning of a text.

    Returns:
        An ISO 639-1 code, or `zxx` for what is in no language, and a probability; short texts have a low one.

    Raises:
        RecipeError: py3langid is not installed.
    """
    return language_probabilities(text[:_CHARACTERS]).most_common(1)[0]


def language_probabilities(text: str, where: str = "hfrecipes") -> Counter[str]:
    """Probability by ISO 639-1 code, and `zxx` for what is in no language. They add up to 1.

    py3langid's raw scores are log-likelihoods that grow with the length of a text. It is asked for its own normalised ones:
    a softmax of the scores over the square root of the bytes, over the languages of `CODES` alone.

    Args:
        text: What is looked at, all of it.
        where: The place in the recipe that wants to know, for errors.

    Raises:
        RecipeError: py3langid is not installed.
    """
    probabilities: Counter[str] = Counter()
    for label, probability in _identifier(where).rank(text):
        probabilities[_VARIETIES.get(label, label)] += float(probability)
    return probabilities


def missing(where: str) -> RecipeError:
    """That py3langid, an extra, is not installed."""
    message = "telling languages apart needs py3langid, which is not installed"
    return RecipeError(Problem(where, message, "pip install 'hfrecipes[clean]'"))


def _identifier(where: str) -> Any:
    try:
        return _load()
    except ImportError:
        raise missing(where) from None


@lru_cache(maxsize=1)
def _load() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    candidates = CODES | set(_VARIETIES) | {NO_LANGUAGE}
    identifier.set_languages(candidates.intersection(identifier.labels))
    return identifier
