"""Whether answers to different prompts are different, or one answer in many places: what a policy does that has found a trick."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def shares_of_own_ngrams(answers: Sequence[Sequence[Hashable]], n: int) -> np.ndarray:
    """Of each answer's n-grams, the share that stands in no other answer.

    Args:
        answers: Tokens, or words.
        n: Of those in a row. A shorter answer is one n-gram itself.

    Returns:
        `(answers,)` between 0 and 1.

    Raises:
        ValueError: there is no answer.
    """
    if not len(answers):
        raise ValueError("there are no answers to compare")
    grams = [_grams(answer, n) for answer in answers]
    # In how many answers each occurs, however often in one.
    counts = Counter(gram for each in grams for gram in each)
    return np.array([sum(counts[gram] == 1 for gram in each) / len(each) for each in grams])


def _grams(answer: Sequence[Hashable], n: int) -> set[tuple[Hashable, ...]]:
    return {tuple(answer[start : start + n]) for start in range(max(len(answer) - n, 0) + 1)}
