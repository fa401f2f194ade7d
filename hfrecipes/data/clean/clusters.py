"""Texts that share a band of their signatures, to clusters of near duplicates: candidates, verified, joined by union-find."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from hfrecipes.data.clean.minhash import sketch_texts
from hfrecipes.data.clean.word_hashes import hash_runs

# Candidates of one key are compared with its first text; those that differ from it with the first of them, and so on. Behind
# so many, what is left of the key are look-alikes of nothing (rows of one template, say), and all pairs would take for ever.
_MAX_LEADERS = 64
# Signatures that are read at once: some 15 MB while they are hashed.
_AT_ONCE = 1 << 12


def near_duplicate_clusters(
    texts: Iterable[str], threshold: float = 0.72, ngram: int = 5, num_hashes: int = 112
) -> np.ndarray:
    """Groups texts that are nearly the same, so that a split does not part them.

    Texts are alike from a Jaccard similarity of `threshold` between their sets of n-grams on, estimated from signatures with
    a standard error of at most 0.5 / sqrt(num_hashes). Clusters are the connected components: two texts of one cluster may
    be alike only by way of others.

    Args:
        texts: Any texts; they are read once.
        threshold: Jaccard similarity from which two texts are the same.
        ngram: Words in an n-gram (characters in scripts without spaces).
        num_hashes: Hashes in a signature, 2 bytes of memory each, and 8 for each band.

    Returns:
        `(texts,)` int64: for each text the index of the first text of its cluster.
    """
    sketches = sketch_texts(texts, ngram, num_hashes, threshold)
    return cluster(sketches.keys, sketches.signatures, threshold)


def cluster(keys: Iterable[np.ndarray], signatures: np.ndarray, threshold: float) -> np.ndarray:
    """Joins texts that share a key and whose signatures agree in a share of `threshold` of their places or more.

    Args:
        keys: For each band `(texts,)` uint64; one is held at a time.
        signatures: `(texts, num_hashes)`, also as a file that is mapped into memory; only candidates are read.
        threshold: Least share of equal places.

    Returns:
        `(texts,)` int64: the first text of each one's cluster.
    """
    # Texts of equal signatures are one cluster at once: however many there are, only the first of them is compared.
    firsts = first_equal(_hash_signatures(signatures))
    distinct = np.flatnonzero(firsts == np.arange(len(firsts)))
    for band in keys:
        _join_candidates(firsts, distinct, band[distinct], signatures, threshold)
    return firsts


def first_equal(keys: np.ndarray) -> np.ndarray:
    """For each of `(n,)` keys the index of the first that equals it: `(n,)` int64."""
    order = np.argsort(keys, kind="stable")
    begins, sizes = _runs(keys[order])
    firsts = np.empty(len(keys), dtype=np.int64)
    firsts[order] = np.repeat(order[begins], sizes)
    return firsts


def estimate_similarity(signatures: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The share of equal places between the signatures of pairs: `(pairs,)` float64 of two `(pairs,)` indices."""
    shares = np.empty(len(left))
    for start in range(0, len(left), _AT_ONCE):
        pairs = slice(start, start + _AT_ONCE)
        shares[pairs] = (signatures[left[pairs]] == signatures[right[pairs]]).mean(axis=1)
    return shares


def _hash_signatures(signatures: np.ndarray) -> np.ndarray:
    hashes = np.empty(len(signatures), dtype=np.uint64)
    for start in range(0, len(signatures), _AT_ONCE):
        some = signatures[start : start + _AT_ONCE].astype(np.uint64)
        hashes[start : start + len(some)] = hash_runs(some.ravel(), np.arange(0, some.size, some.shape[1]))
    return hashes


def _join_candidates(
    firsts: np.ndarray, texts: np.ndarray, keys: np.ndarray, signatures: np.ndarray, threshold: float
) -> None:
    """Compares the texts of each key with its first, then those that are unlike it with the first of them."""
    order = np.argsort(keys, kind="stable")
    texts, keys = texts[order], keys[order]
    for _ in range(_MAX_LEADERS):
        begins, sizes = _runs(keys)
        shared = np.repeat(sizes > 1, sizes)
        leaders = np.repeat(texts[begins], sizes)
        open_pairs = shared & (firsts[texts] != firsts[leaders])
        texts, leaders, keys = texts[open_pairs], leaders[open_pairs], keys[open_pairs]
        if len(texts) == 0:
            return
        alike = estimate_similarity(signatures, texts, leaders) >= threshold
        join(firsts, texts[alike], leaders[alike])
        texts, keys = texts[~alike], keys[~alike]


def _runs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where runs of equal keys begin, and how long they are."""
    begins = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if len(keys) else np.zeros(0, dtype=np.int64)
    return begins, np.diff(begins, append=len(keys))


def join(firsts: np.ndarray, left: np.ndarray, right: np.ndarray) -> None:
    """Union-find over many pairs at once, in place.

    Args:
        firsts: `(texts,)` int64: the first member of each text's cluster; it is so before and after.
        left: `(pairs,)` int64.
        right: `(pairs,)` int64.
    """
    while True:
        a, b = firsts[left], firsts[right]
        apart = a != b
        if not apart.any():
            return
        # A root points to a lower one only, so no circle arises; of several, the lowest wins, and the others are tried again.
        np.minimum.at(firsts, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
        while not np.array_equal(shorter := firsts[firsts], firsts):
            firsts[:] = shorter
