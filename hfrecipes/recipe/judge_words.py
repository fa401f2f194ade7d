"""The words of `evaluation.win_rate` and `evaluation.alignment_tax`: what a model has won by preferences, and at what price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.reward_words import FUNCTION, MODEL, word_problems
from hfrecipes.recipe.section_words import words
from hfrecipes.recipe.words import FROM_PRETRAINED

if TYPE_CHECKING:
    from hfrecipes.recipe.loader import Recipe

WIN_RATE, TAX = "evaluation.win_rate", "evaluation.alignment_tax"
# Sees both answers, where models and functions score each alone.
COMPARE = "compare"
_OF_MODELS = (MODEL, "revision", "dtype", "attn_implementation")
JUDGES: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        # Words of functions follow from their signatures, which check/win_rate.py looks at.
        "x-checked-by": FUNCTION,
        "properties": {
            MODEL: {"type": "string", "description": "A reward model, as a folder, a run's, or a Hub id."},
            FUNCTION: {
                "type": "string",
                "description": "Instead: module:name of a reward; the words of a class stand beside it.",
            },
            COMPARE: {
                "type": "string",
                "description": "Instead: module:name of a function of prompts, first and second answers, asked in both orders.",
            },
            "revision": {"type": "string", "description": "The commit of a model on the Hub."},
            "dtype": {**FROM_PRETRAINED["dtype"], "description": "Of a model's weights."},
        },
    },
}


@dataclass(kw_only=True, slots=True)
class WinRateWords:
    judges: list[Any] | None = words(
        "Who says which answer is better; each judge gives a win rate of its own.", shape=JUDGES
    )
    num_prompts: int | None = words("Held-out prompts that both models answer. Default: 200.", minimum=2)
    max_new_tokens: int | None = words("Tokens of an answer. Default: 64.", minimum=1)
    temperature: float | None = words("0 takes the likeliest token, above it answers are drawn. Default: 0.", minimum=0)
    margin: float | None = words("Scores that lie no further apart are a tie. Default: 0.", minimum=0)


def judge_specs(recipe: Recipe) -> list[dict[str, Any]]:
    """The judges of a recipe, as it says them; none where it asks for no win rate.

    Raises:
        RecipeError: with all that is wrong with their words, but for those that functions have.
    """
    if recipe.get(WIN_RATE) is None:
        return []
    specs = recipe.get(f"{WIN_RATE}.judges") or []
    problems = [problem for place in range(len(specs)) for problem in _problems(recipe, f"{WIN_RATE}.judges.{place}")]
    if not specs:
        fix = "add one, as in judges: [{model: runs/reward/model}]"
        problems = [Problem(recipe.where(WIN_RATE), f"{WIN_RATE} has nobody who judges", fix)]
    if problems:
        raise RecipeError(problems)
    return specs


def kind_of(spec: dict[str, Any]) -> str:
    """What a judge is: the word that names it."""
    return next(word for word in (MODEL, FUNCTION, COMPARE) if spec.get(word) is not None)


def _problems(recipe: Recipe, key: str) -> list[Problem]:
    spec, where = recipe.get(key), recipe.where(key)
    named = [name for name in (MODEL, FUNCTION, COMPARE) if spec.get(name) is not None]
    if len(named) != 1:
        fault = f"says {' and '.join(named)}" if named else "names nobody"
        return [
            Problem(where, f"{key} {fault}", "say one of model, function and compare; each judge has its own entry")
        ]
    if not isinstance(spec[named[0]], str):
        return [Problem(where, f"{key}.{named[0]} is {spec[named[0]]!r}", "it is a string")]
    known = _OF_MODELS if named == [MODEL] else (COMPARE,) if named == [COMPARE] else None
    return word_problems(recipe, key, known) if known else []
