"""MinHash signatures of texts, and the bands by which similar ones are found (Broder 1997; Leskovec et al., chapter 3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from hfrecipes.data.clean.shingles import shingle
from hfrecipes.data.clean.word_hashes import hash_runs, numbered_hashes

# Texts are read in pieces of about so many characters: the arrays then stay in the processor's cache.
_BATCH_CHARACTERS = 1 << 16
# What a missed pair costs beside a pair that is compared in vain. With 3, a threshold of .72 and 112 hashes give FineWeb's
# 14 bands of 8 (Penedo et al. 2024), and a pair .1 above a threshold from .5 on is found in 96 % of cases or more.
_COST_OF_MISS = 3
# What is kept of each hash. Two different ones agree once in 65,536 times, far below the error of 1 / sqrt(hashes).
SIGNATURE_DTYPE = np.uint16
_SHORTENER = numbered_hashes(1, salt=1)[0] | np.uint64(1)


@cache
def choose_bands(threshold: float, num_hashes: int) -> tuple[int, int]:
    """How many bands of how many rows find pairs above a threshold best.

    A pair of similarity s shares one of b bands of r rows with probability P(s) = 1 - (1 - s**r)**b. Of all b * r up to
    `num_hashes`, those are taken that minimise the integral of P below the threshold (false candidates, which verification
    removes) plus 3 times that of 1 - P above it (misses, which nothing brings back).

    Args:
        threshold: Jaccard similarity from which two texts are the same.
        num_hashes: Hashes in a signature.

    Returns:
        Bands and rows.
    """
    similarity = np.linspace(0, 1, 1001)

    def cost(bands: int, rows: int) -> float:
        found = 1 - (1 - similarity**rows) ** bands
        # Rounded, so that the last bit of a machine's powers decides nothing.
        return round(float(np.where(similarity < threshold, found, _COST_OF_MISS * (1 - found)).mean()), 9)

    choices = [(num_hashes // rows, rows) for rows in range(1, num_hashes + 1)]
    return min(choices, key=lambda choice: cost(*choice))


@dataclass(frozen=True, slots=True)
class Sketches:
    """What is known of texts to find those that are alike.

    Args:
        signatures: `(texts, num_hashes)` uint16: the share of equal places estimates the Jaccard similarity.
        keys: `(bands, texts)` uint64: texts that agree in all rows of a band share its key.
    """

    signatures: np.ndarray
    keys: np.ndarray


def sketch_texts(texts: Iterable[str], ngram: int, num_hashes: int, threshold: float) -> Sketches:
    """Signatures and bands of texts.

    Args:
        texts: Any texts; they are read once.
        ngram: Words in an n-gram.
        num_hashes: Hashes in a signature.
        threshold: Jaccard similarity from which two texts are the same; the bands are chosen for it.

    Returns:
        Their sketches, in their order.
    """
    bands, rows = choose_bands(threshold, num_hashes)
    signatures = [np.zeros((0, num_hashes), dtype=SIGNATURE_DTYPE)]
    keys = [np.zeros((bands, 0), dtype=np.uint64)]
    for batch in batched_by_characters(texts):
        lowest = lowest_hashes(batch, ngram, num_hashes)
        signatures.append(_shorten(lowest))
        keys.append(_band_keys(lowest, bands, rows))
    return Sketches(np.concatenate(signatures), np.concatenate(keys, axis=1))


def lowest_hashes(texts: Sequence[str], ngram: int, num_hashes: int) -> np.ndarray:
    """The lowest hash of each text's n-grams under each of `num_hashes` orders: MinHash itself.

    Order i is that of `multiplier_i * hash modulo 2**64`, with odd multipliers; the hashes are well mixed before. Two texts
    agree at a place with a probability that is the Jaccard similarity of their sets of n-grams.

    Args:
        texts: Any texts, at least one.
        ngram: Words in an n-gram.
        num_hashes: Orders.

    Returns:
        `(texts, num_hashes)` uint64.
    """
    shingles, bounds = shingle(texts, ngram)
    lowest = np.empty((len(texts), num_hashes), dtype=np.uint64)
    scaled = np.empty_like(shingles)
    for column, multiplier in enumerate(numbered_hashes(num_hashes) | np.uint64(1)):
        np.multiply(shingles, multiplier, out=scaled)
        lowest[:, column] = np.minimum.reduceat(scaled, bounds[:-1])
    return lowest


def _band_keys(lowest: np.ndarray, bands: int, rows: int) -> np.ndarray:
    begins = np.arange(0, len(lowest) * rows, rows)
    columns = (lowest[:, band * rows : (band + 1) * rows] for band in range(bands))
    return np.stack([hash_runs(column.ravel(), begins) for column in columns])


def _shorten(lowest: np.ndarray) -> np.ndarray:
    """16 bits of each; multiplied first, since the top bits of the lowest of many hashes are all zero."""
    return (lowest * _SHORTENER >> np.uint64(48)).astype(SIGNATURE_DTYPE)


def batched_by_characters(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of some 65,000 characters together, or of one text that is longer."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and size + len(text) > _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
        batch.append(text)
        size += len(text)
    if batch:
        yield batch
