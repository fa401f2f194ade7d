"""The words of long context: needles that a run is measured by, and the gate that a pipeline's next step waits for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hfrecipes.recipe.section_words import words
from hfrecipes.recipe.source_words import Source


@dataclass(kw_only=True, slots=True)
class NeedleWords:
    lengths: list[int] | None = words("Tokens of the prompts, at most. Default: data.context_length.")
    depths: list[float] | None = words(
        "Where the needle is hidden, from 0 (the beginning) to 1. Default: 0, 0.25, 0.5, 0.75 and 1."
    )
    languages: list[Literal["en", "zh"]] | None = words("Languages of the needles. Default: en.")
    num_needles: int | None = words("Needles for each language, length and depth. Default: 4.", minimum=1)
    haystack: list[Source] | None = words("Text to hide them in. Default: that of data.eval.")


@dataclass(kw_only=True, slots=True)
class GateWords:
    short_loss: bool | None = words(
        "Rows of evaluation.short_context must not cost more than the upper end of the first model's interval."
    )
    needles: float | None = words(
        "The share of needles that must be found at each length and depth.", minimum=0, maximum=1
    )
