"""Whether a changed copy of a row is good enough to learn from."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hfrecipes.data.augment.protected import fixed_pattern
from hfrecipes.data.clean.identification import identify

# The identification of a language is believed from this probability on, and for texts of so many letters.
_SURE = 0.8
_LETTERS = 40
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a copy has to keep to.

    Args:
        min_similarity, max_similarity: Of the copy to its row, as `similarity` has it.
        min_length_ratio, max_length_ratio: Characters of the copy for each of the row.
    """

    min_similarity: float
    max_similarity: float = 1.0
    min_length_ratio: float = 0.5
    max_length_ratio: float = 2.0


def fault_of(source: Sequence[str], copy: Sequence[str], fixed: Sequence[str], bounds: Bounds) -> str | None:
    """Why a copy is thrown away, in a word; None where it stays.

    `unchanged`: equal to the row, but for spaces; `length`, `too_different`, `too_similar`: beyond the bounds; `numbers`:
    not the same numbers; `answer`: an answer that the row quotes is gone; `language`: of another language.

    Args:
        source: The texts of the row that were free to change.
        copy: The same as they are now.
        fixed: Answers that the texts may quote.
        bounds: As the recipe has them.
    """
    before, after = "\n".join(source), "\n".join(copy)
    if before.split() == after.split() or not all(text.strip() for text in copy):
        return "unchanged" if before.split() == after.split() else "length"
    if not bounds.min_length_ratio <= len(after) / len(before) <= bounds.max_length_ratio:
        return "length"
    if Counter(_NUMBER.findall(before)) != Counter(_NUMBER.findall(after)):
        return "numbers"
    if any(fixed_pattern(one).search(before) and not fixed_pattern(one).search(after) for one in fixed):
        return "answer"
    alike = similarity(before, after)
    if not bounds.min_similarity <= alike <= bounds.max_similarity:
        return "too_different" if alike < bounds.min_similarity else "too_similar"
    return "language" if _other_language(before, after) else None


def similarity(first: str, second: str, n: int = 3) -> float:
    """Cosine of the counts of character n-grams, in lower case and with single spaces: 1 for equal texts."""
    counts = [_ngram_counts(text, n) for text in (first, second)]
    shared = sum(count * counts[1][gram] for gram, count in counts[0].items() if gram in counts[1])
    lengths = [math.sqrt(sum(count * count for count in one.values())) for one in counts]
    return min(1.0, shared / (lengths[0] * lengths[1])) if all(lengths) else 0.0


def _ngram_counts(text: str, n: int) -> Counter[str]:
    # With a space on either side, even a single character has an n-gram.
    text = f" {' '.join(text.lower().split())} "
    return Counter(text[start : start + n] for start in range(max(1, len(text) - n + 1)))


def _other_language(before: str, after: str) -> bool:
    """Whether both are identified with certainty, and not alike."""
    if sum(map(str.isalpha, before)) < _LETTERS and before.isascii():
        return False
    (first, sure), (second, surely) = identify(before), identify(after)
    return first != second and sure >= _SURE and surely >= _SURE
