"""Signatures estimate the exact similarity, and bands find what they say."""

from __future__ import annotations

import numpy as np
import pytest

from hfrecipes.data.clean.clusters import estimate_similarity
from hfrecipes.data.clean.minhash import choose_bands, lowest_hashes, sketch_texts
from hfrecipes.data.clean.shingles import shingle
from hfrecipes.data.clean.word_hashes import numbered_hashes
from tests.data.clean.near_duplicate_corpora import code, ngrams, with_near_duplicates


def test_the_lowest_hash_is_that_of_pythons_own_integers() -> None:
    texts = ["to be or not to be that is the question", "whether tis nobler"]
    shingles, bounds = shingle(texts, 5)
    for row, lowest in enumerate(lowest_hashes(texts, 5, 16).tolist()):
        grams = shingles[bounds[row] : bounds[row + 1]].tolist()
        assert lowest == [min((x | 1) * gram % 2**64 for gram in grams) for x in numbered_hashes(16).tolist()]


def test_estimates_scatter_around_the_exact_similarity_as_theory_says() -> None:
    texts = with_near_duplicates(code(150), seed=1)
    signatures = sketch_texts(texts, 5, 112, 0.72).signatures
    left, right = np.triu_indices(len(texts), 1)
    estimated = estimate_similarity(signatures, left, right)
    grams = [ngrams(text) for text in texts]
    exact = np.array([len(grams[a] & grams[b]) / len(grams[a] | grams[b]) for a, b in zip(left, right, strict=True)])
    likely = exact > 0.1
    assert likely.sum() > 100
    deviations = (estimated - exact)[likely] / np.sqrt(np.maximum(exact * (1 - exact), 1e-3)[likely] / 112)
    assert abs(deviations.mean()) < 0.2
    assert 0.8 < deviations.std() < 1.2
    # of other pairs, equal short hashes may not add to it
    assert estimated[exact == 0].max() < 0.04


def test_long_texts_with_nothing_in_common_do_not_look_alike() -> None:
    # The lowest of 50,000 hashes begin with zeros in both.
    texts = [" ".join(f"{letter}{number}" for number in range(50_000)) for letter in "ab"]
    signatures = sketch_texts(texts, 5, 112, 0.72).signatures
    assert estimate_similarity(signatures, np.array([0]), np.array([1]))[0] < 0.04


def test_sketches_do_not_depend_on_how_texts_are_batched() -> None:
    texts = [*code(40), "", "?!", "short", "x " * 50_000, *code(5)]
    together = sketch_texts(texts, 5, 32, 0.8)
    apart = [sketch_texts([text], 5, 32, 0.8) for text in texts]
    assert np.array_equal(together.signatures, np.concatenate([one.signatures for one in apart]))
    assert np.array_equal(together.keys, np.concatenate([one.keys for one in apart], axis=1))


def test_no_texts_have_empty_sketches() -> None:
    nothing = sketch_texts([], 5, 112, 0.72)
    assert nothing.signatures.shape == (0, 112) and nothing.keys.shape == (14, 0)


def test_texts_that_agree_in_a_band_share_its_key() -> None:
    texts = with_near_duplicates(code(60), seed=2)
    bands, rows = choose_bands(0.72, 112)
    lowest = lowest_hashes(texts, 5, 112)
    keys = sketch_texts(texts, 5, 112, 0.72).keys
    for band in range(bands):
        groups = {tuple(row) for row in lowest[:, band * rows : (band + 1) * rows].tolist()}
        pairs = set(
            zip(map(tuple, lowest[:, band * rows : (band + 1) * rows].tolist()), keys[band].tolist(), strict=True)
        )
        assert len(groups) == len(pairs) == len(set(keys[band].tolist()))


def test_the_default_has_the_bands_of_fineweb() -> None:
    assert choose_bands(0.72, 112) == (14, 8)


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.72, 0.8, 0.85, 0.9, 0.95, 1.0])
def test_bands_find_what_is_clearly_above_the_threshold(threshold: float) -> None:
    bands, rows = choose_bands(threshold, 112)
    assert bands * rows <= 112
    above, below = min(threshold + 0.1, 1.0), threshold - 0.35
    assert 1 - (1 - above**rows) ** bands > 0.95
    assert 1 - (1 - below**rows) ** bands < 0.15
