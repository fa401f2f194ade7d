"""The words of `kind: sample`: how a model's answers to prompts are drawn, and which of them become a pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hfrecipes.recipe.section_words import words

if TYPE_CHECKING:
    from hfrecipes.recipe.loader import Recipe

# What a recipe means that says no more.
_DEFAULTS = {
    "num_return_sequences": 4,
    "max_new_tokens": 256,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "batch_size": 16,
    "seed": 0,
}


@dataclass(kw_only=True, slots=True)
class GenerationWords:
    num_return_sequences: int | None = words("Answers to each prompt. Default: 4.", minimum=2, maximum=1024)
    max_new_tokens: int | None = words("Tokens of an answer at most. Default: 256.", minimum=1)
    temperature: float | None = words("Logits are divided by it. Default: 1.", minimum=0.01)
    top_p: float | None = words(
        "The likeliest tokens that together are so probable. Default: 1, all.", minimum=0, maximum=1
    )
    top_k: int | None = words("So many of the likeliest tokens. Default: 0, all.", minimum=0)
    batch_size: int | None = words("Answers that are written at once. Default: 16.", minimum=1)
    seed: int | None = words("Of the drawing: the same answers whatever the batch. Default: 0.", minimum=0)


@dataclass(kw_only=True, slots=True)
class PairWords:
    margin: float | None = words(
        "By how much the best answer has to be scored above the worst; a prompt whose answers lie closer makes no pair. "
        "Default: 0, any difference.",
        minimum=0,
    )


@dataclass(frozen=True, slots=True)
class Drawing:
    """How answers are drawn, with nothing left open; the fields are those of `GenerationWords`."""

    num_return_sequences: int
    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int
    batch_size: int
    seed: int


def drawing_of(recipe: Recipe) -> Drawing:
    """What a recipe of `kind: sample` says of the drawing, or means where it says nothing."""
    said = {name: value for name, value in (recipe.get("generation") or {}).items() if value is not None}
    return Drawing(**{**_DEFAULTS, **said})


def margin_of(recipe: Recipe) -> float:
    """By how much the best answer has to be scored above the worst."""
    return recipe.get("pairs.margin") or 0.0
