"""What so many evaluation rows have in common that it is their form and not their content."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# An n-gram speaks of a row when at least two thirds of its words are outside the phrases that rows share. With GSM8K's test set
# and 2,500 of its training rows under one template, 13-grams that only had to be rare as a whole found 1,129 training rows
# (twelve words of the template and one name are rare); of which two thirds are content found 5, as many as without a template.
_CONTENT_SHARE = (2, 3)


@dataclass(frozen=True, slots=True)
class Rows:
    """Which row and which evaluation set things belong to.

    Args:
        set_of_row: `(rows,)` int64.
        max_rows: In more rows than this, something is form. In a set with few rows, half of them are enough.
    """

    set_of_row: np.ndarray
    max_rows: int

    def are_common(self, hashes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Which of `(n,)` hashes, each found in the row `(n,)`, are found in too many rows: `(n,)` bool."""
        if len(hashes) == 0:
            return np.zeros(0, dtype=bool)
        sets = self.set_of_row[rows]
        order = np.lexsort((rows, sets, hashes))
        by_hash = _changes(hashes[order])
        by_set = by_hash | _changes(sets[order])
        fresh = by_set | _changes(rows[order])
        number, in_set = np.cumsum(by_hash) - 1, np.cumsum(by_set) - 1
        common = np.bincount(number[fresh]) > self.max_rows
        limits = np.clip(np.bincount(self.set_of_row) // 2, 1, self.max_rows)
        crowded = np.bincount(in_set[fresh]) > limits[sets[order][by_set]]
        common[number[by_set][crowded]] = True
        answer = np.empty(len(hashes), dtype=bool)
        answer[order] = common[number]
        return answer


def content_windows(words: np.ndarray, phrases: np.ndarray, phrase_length: int, length: int) -> np.ndarray:
    """Which runs of words have content: enough of them outside common phrases, and at least half of them different.

    Args:
        words: `(words,)` uint64.
        phrases: `(words - phrase_length + 1,)` bool: where a common phrase begins.
        phrase_length: Words of it.
        length: Words of a run, no more than there are.

    Returns:
        `(words - length + 1,)` bool.
    """
    covered = np.zeros(len(words), dtype=bool)
    for offset in range(phrase_length):
        covered[offset : offset + len(phrases)] |= phrases
    count = len(words) - length + 1
    outside = np.concatenate([[0], np.cumsum(~covered)])
    numerator, denominator = _CONTENT_SHARE
    enough = (outside[length:] - outside[:count]) * denominator >= length * numerator
    return enough & (_num_different(words, length) * 2 >= length)


def _num_different(words: np.ndarray, length: int) -> np.ndarray:
    """How many different words each run of `length` has: those whose last use was before the run."""
    order = np.argsort(words, kind="stable")
    previous = np.full(len(words), -1, dtype=np.int64)
    again = np.flatnonzero(words[order][1:] == words[order][:-1]) + 1
    previous[order[again]] = order[again - 1]
    starts = np.arange(len(words) - length + 1)
    return sum((previous[offset : offset + len(starts)] < starts).astype(np.int64) for offset in range(length))  # type: ignore


def _changes(values: np.ndarray) -> np.ndarray:
    """Where a value differs from the one before it; the first does."""
    return np.append(True, values[1:] != values[:-1])
