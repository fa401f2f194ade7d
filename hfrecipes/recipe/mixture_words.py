"""The words under `data.mixture`: what is trained on in place of `data.train`, with a share of the tokens for each source.

What becomes of them is in `hfrecipes/data/mixture`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from hfrecipes.recipe.section_words import words
from hfrecipes.recipe.source_words import Source


@dataclass(kw_only=True, slots=True)
class MixtureSource(Source):
    weight: float | list[list[float]] | None = words(
        "Its share of the tokens: a number, or [[progress, weight], …] from progress 0 to 1. Default: by its own tokens."
    )
    interpolation: Literal["linear", "step", "cosine"] | None = words("Between points of the weight. Default: linear.")
    max_epochs: float | None = words(
        "How often its rows may be seen at most; from there on the others take its share.", minimum=0.01
    )


# The words of a source in a mixture that are not those of any source.
OF_MIXTURE = frozenset(field.name for field in fields(MixtureSource)) - {field.name for field in fields(Source)}


@dataclass(kw_only=True, slots=True)
class Mixture:
    sources: dict[str, MixtureSource | None] | None = words(
        "The sources, by a name that figures and plots show; null takes one out."
    )
    total_tokens: float | str | None = words(
        "Tokens to train on: a count, or 20x for 20 a parameter. Default: what max_steps or num_train_epochs say."
    )
    temperature: float | None = words(
        "Where no source has a weight: its share goes by its tokens to the power of 1/temperature. Default: 1.",
        minimum=0.01,
    )
    seed: int | None = words("Chooses the order of the rows. Default: 0.", minimum=0)
    block: int | None = words(
        "Rows after which the shares are looked up anew. Default: one optimizer step, more in very long runs.",
        minimum=1,
    )
