"""Texts to sets of n-grams, as hashes: what near duplicates have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hfrecipes.data.clean.word_hashes import hash_runs, hash_windows, hash_words
from hfrecipes.data.hashing import stable_key


def shingle(texts: Sequence[str], ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of texts: of words, of runs of symbols (`==`), and of characters in scripts without spaces.

    A text with fewer words than `ngram` has one shingle, of all its words; one without any word (`?!`) has one too, of its
    characters. So equal texts always have equal shingles, and none has no shingle.

    Args:
        texts: Any texts.
        ngram: Words in an n-gram.

    Returns:
        `(shingles,)` uint64, repeats included, and `(texts + 1,)` int64: `bounds[i]:bounds[i + 1]` are those of text i.
    """
    words = hash_words(texts, symbols=True)
    num_words = np.diff(words.bounds)
    bounds = np.concatenate([[0], np.cumsum(np.maximum(num_words - ngram + 1, 1))]).astype(np.int64)
    shingles = np.zeros(bounds[-1], dtype=np.uint64)
    windows = hash_windows(words.hashes, ngram)
    long = num_words >= ngram
    inside, starts = _places(words.bounds[:-1][long], bounds[:-1][long], num_words[long] - ngram + 1)
    shingles[starts] = windows[inside]
    short = (num_words > 0) & ~long
    shingles[bounds[:-1][short]] = _whole(words.hashes, words.bounds)[short[num_words > 0]]
    for text in np.flatnonzero(num_words == 0):
        shingles[bounds[text]] = stable_key(" ".join(texts[text].split()))
    return shingles, bounds


def _places(sources: np.ndarray, targets: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices of runs of so many numbers that begin at the sources, and of those that begin at the targets."""
    steps = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(sources, lengths) + steps, np.repeat(targets, lengths) + steps


def _whole(words: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """A hash of all words for each text that has any."""
    return hash_runs(words, bounds[:-1][np.diff(bounds) > 0])
