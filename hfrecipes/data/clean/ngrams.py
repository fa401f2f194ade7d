"""Repeated n-grams of a text, for many n, without making the n-grams.

An n-gram can only repeat where the (n-1)-gram at its beginning does, so the places to look at become few. At each length
the places get a number that is equal for equal n-grams; number and next word make the number one length further. All of it
is exact: nothing is hashed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hfrecipes.data.clean.words import split_words


class _Level(NamedTuple):
    """The n-grams that occur more than once.

    Args:
        places: Where each occurrence begins, ascending. Shape: (occurrences,).
        numbers: Equal for equal n-grams. Shape: (occurrences,).
        counts: How often each occurs. Shape: (occurrences,).
    """

    places: np.ndarray
    numbers: np.ndarray
    counts: np.ndarray


class RepeatedNgrams:
    """What a text repeats, in characters.

    Args:
        text: Of any length and script; words are those of `words.split_words`.
    """

    def __init__(self, text: str) -> None:
        words = split_words(text)
        numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
        self._words = np.fromiter(map(numbers.__getitem__, words), dtype=np.int64, count=len(words))
        self._ends = np.zeros(len(words) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, words), dtype=np.int64, count=len(words)), out=self._ends[1:])
        self._distinct = len(numbers)
        self._levels = [_repeated(np.arange(len(words)), self._words, np.bincount(self._words)[self._words])]

    def _level(self, n: int) -> _Level:
        while len(self._levels) < n:
            self._levels.append(self._lengthen(self._levels[-1], len(self._levels)))
        return self._levels[n - 1]

    def _lengthen(self, level: _Level, n: int) -> _Level:
        """The level after that of the repeated n-grams."""
        if not level.places.size:
            return level
        places, numbers = level.places, level.numbers
        if places[-1] + n >= len(self._words):
            places, numbers = places[:-1], numbers[:-1]
        numbers, counts = _renumber(numbers * self._distinct + self._words[places + n])
        return _repeated(places, numbers, counts)

    def covered(self, n: int) -> int:
        """Characters of words that are part of a repeated n-gram: no `duplicate(m)` of an m from n on is above it."""
        level = self._level(n)
        if not level.places.size:
            return 0
        steps = np.bincount(level.places, minlength=len(self._words) + 1)
        steps[n:] -= np.bincount(level.places + n, minlength=len(self._words) + 1)[n:]
        return int(np.diff(self._ends)[np.cumsum(steps[:-1]) > 0].sum())

    def repeats(self, n: int) -> bool:
        """Whether any n-gram occurs twice."""
        return self._level(n).places.size > 0

    def top(self, n: int) -> int:
        """Characters in all occurrences of the most frequent n-gram, spaces between its words included; the first of several.

        They are counted where they overlap, too. Where none repeats, the first n-gram is the most frequent.
        """
        if n > len(self._words):
            return 0
        level, place, count = self._level(n), 0, 1
        if level.places.size:
            most = int(level.counts.argmax())
            place, count = int(level.places[most]), int(level.counts[most])
        return int(self._ends[place + n] - self._ends[place] + n - 1) * count

    def duplicate(self, n: int) -> int:
        """Characters in n-grams that stood there before, without spaces; each character counts once.

        The text is read from its beginning: a repeated n-gram is counted and skipped, any other moves on by one word.
        """
        level = self._level(n)
        if not level.places.size:
            return 0
        lengths = (self._ends[level.places + n] - self._ends[level.places]).tolist()
        seen: set[int] = set()
        characters = following = 0
        for place, number, length in zip(level.places.tolist(), level.numbers.tolist(), lengths, strict=True):
            if place < following:
                continue
            if number in seen:
                characters += length
                following = place + n
            else:
                seen.add(number)
        return characters


def _repeated(places: np.ndarray, numbers: np.ndarray, counts: np.ndarray) -> _Level:
    again = counts > 1
    return _Level(places[again], numbers[again], counts[again])


def _renumber(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from 0 that are equal where the old ones are, and how often each occurs; `np.unique` takes twice as long."""
    order = numbers.argsort()
    ordered = numbers[order]
    dense_ordered = np.zeros(len(numbers), dtype=np.int64)
    np.cumsum(ordered[1:] != ordered[:-1], out=dense_ordered[1:])
    dense = np.empty_like(dense_ordered)
    dense[order] = dense_ordered
    return dense, np.bincount(dense_ordered)[dense]
