"""Which language a text is in, by py3langid, whose model is part of the package."""

from __future__ import annotations

from functools import cache
from typing import Any

from hfrecipes.recipe.problem import Problem, RecipeError

# More adds nothing to the identification of a language, and time to it.
_CHARACTERS = 2000
# Languages that are told apart badly in writing, and are treated alike here.
_WRITTEN_AS = {"yue": "zh", "wuu": "zh", "lzh": "zh"}


def identify(text: str) -> tuple[str, float]:
    """The language of a text and how probable it is among all that py3langid knows.

    Returns:
        An ISO 639-1 code and a probability; short texts have a low one.

    Raises:
        RecipeError: py3langid is not installed.
    """
    language, probability = _identifier().classify(text[:_CHARACTERS])
    return _WRITTEN_AS.get(str(language), str(language)), float(probability)


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        message = "py3langid, which tells languages apart, is not installed"
        raise RecipeError(Problem("hfrecipes", message, "pip install 'hfrecipes[clean]'")) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
