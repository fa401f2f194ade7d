"""Text as a vector of hashed n-grams of words and characters, in any language, by numpy alone.

The hashes are our own and frozen: a classifier that was trained on one machine reads the same vectors on any other.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hfrecipes.data.clean.segments import plain_words

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Characters of a text that are read: a label shows in its beginning, and time grows with them.
_CHARACTERS = 20_000
_SPACES = re.compile(r"\s+")
# Odd constants with well-mixed bits (SplitMix64, Steele et al. 2014).
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = np.uint64(0x9E3779B97F4A7C15)


def hashed_vector(
    text: str, dimensions: int, word_ngrams: int = 2, character_ngrams: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """A sparse vector of length 1.

    Each n-gram up to the given lengths counts 1 + log(count) in the place that its hash says; words and characters each
    make up half of the squared length.

    Args:
        text: Any text.
        dimensions: Places, a power of two.
        word_ngrams: The longest n-grams of words.
        character_ngrams: The longest n-grams of characters, from 2 on.

    Returns:
        Places, in increasing order, and their values (float32).
    """
    text = _SPACES.sub(" ", text[:_CHARACTERS]).strip().lower()
    words = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in plain_words(text)], dtype=np.uint64)
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    # n-grams of different kinds and lengths must not share their hashes.
    word_keys = [_ngram_hashes(words, n, salt=n) for n in range(1, word_ngrams + 1)]
    character_keys = [_ngram_hashes(characters, n, salt=100 + n) for n in range(2, character_ngrams + 1)]
    blocks = [_block(keys, dimensions) for keys in (word_keys, character_keys)]
    places = np.concatenate([block[0] for block in blocks])
    values = np.concatenate([block[1] for block in blocks])
    unique, inverse = np.unique(places, return_inverse=True)
    summed = np.bincount(inverse, weights=values, minlength=len(unique))
    length = np.linalg.norm(summed)
    return unique, (summed / length if length else summed).astype(np.float32)


def hashed_matrix(texts: Sequence[str], dimensions: int) -> csr_matrix:
    """The vectors of many texts as rows, of shape (texts, dimensions)."""
    from scipy.sparse import csr_matrix

    vectors = [hashed_vector(text, dimensions) for text in texts]
    ends = np.cumsum([0, *(len(places) for places, _ in vectors)])
    places = np.concatenate([places for places, _ in vectors])
    values = np.concatenate([values for _, values in vectors])
    return csr_matrix((values, places, ends), shape=(len(texts), dimensions))


def _ngram_hashes(units: np.ndarray, n: int, salt: int) -> np.ndarray:
    if len(units) < n:
        return np.empty(0, dtype=np.uint64)
    with np.errstate(over="ignore"):
        hashes = np.full(len(units) - n + 1, np.uint64(salt) * _STEP, dtype=np.uint64)
        for start in range(n):
            hashes = _mixed(hashes + units[start : start + len(hashes)] + _STEP)
    return hashes


def _mixed(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> np.uint64(30))) * _MIX[0]
    values = (values ^ (values >> np.uint64(27))) * _MIX[1]
    return values ^ (values >> np.uint64(31))


def _block(keys: Sequence[np.ndarray], dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    places, counts = np.unique(np.concatenate(keys) % np.uint64(dimensions), return_counts=True)
    values = 1 + np.log(counts)
    return places.astype(np.int64), values / (np.linalg.norm(values) or 1)
