"""The words under `data.splits`: how rows are dealt to training, validation and test, the same for all roles of a recipe.

What becomes of them is in `hfrecipes/data/splits`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hfrecipes.recipe.section_words import words

SplitMethod = Literal["hash", "stratified", "time", "order"]


@dataclass(kw_only=True, slots=True)
class Splits:
    shares: dict[str, float] | None = words(
        "Share of each split, adding up to 1. Default: {train: 0.9, validation: 0.05, test: 0.05}."
    )
    method: SplitMethod | None = words(
        "hash: by content, so that no row ever moves; stratified: with the same shares of each label; time: the latest rows "
        "are tested on; order: the last ones are. Default: hash."
    )
    by: str | None = words("The column with the label (stratified) or the time (time), by its name in the data.")
    group: str | None = words(
        "A column whose equal values stay on one side, such as an author or a document; file for all rows of a file."
    )
    near_duplicates: bool | None = words(
        "Whether texts that are nearly the same stay on one side, by MinHash. Default: false."
    )
    folds: int | None = words(
        "Number of folds: validation is one of them, training the others. Without fold, each has its turn.",
        minimum=2,
        maximum=100,
    )
    fold: int | None = words("Which fold is validation, from 1.", minimum=1, maximum=100)
    seed: int | None = words("Deals rows anew. Default: 0.", minimum=0)
