"""Clusters of near duplicates against exact similarities and a graph library."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hfrecipes.data.clean.clusters import cluster, join, near_duplicate_clusters
from tests.data.clean.near_duplicate_corpora import CORPORA, DATA, code, similar_pairs, with_near_duplicates


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30), st.integers(0, 30))
def test_joining_pairs_gives_connected_components(pairs: list[tuple[int, int]], cut: int) -> None:
    firsts = np.arange(20)
    for some in (pairs[:cut], pairs[cut:]):  # joins add up
        join(firsts, np.array([a for a, _ in some], dtype=np.int64), np.array([b for _, b in some], dtype=np.int64))
    graph = coo_array((np.ones(len(pairs)), tuple(np.array(pairs, dtype=int).reshape(-1, 2).T)), shape=(20, 20))
    _, labels = connected_components(graph, directed=False)
    assert firsts.tolist() == [int(np.flatnonzero(labels == label)[0]) for label in labels]


@pytest.mark.parametrize("name", CORPORA)
def test_near_duplicates_are_found_and_others_are_not(name: str) -> None:
    if name != "code" and not DATA.is_dir():
        pytest.skip("the shared data are not here")
    texts = with_near_duplicates(CORPORA[name](250), seed=3)
    exact = similar_pairs(texts, 0.05)
    firsts = near_duplicate_clusters(texts)
    alike = [pair for pair, similarity in exact.items() if similarity >= 0.82]
    merged = [pair for pair in itertools.combinations(range(len(texts)), 2) if firsts[pair[0]] == firsts[pair[1]]]
    assert len(alike) > 60
    assert np.mean([firsts[a] == firsts[b] for a, b in alike]) > 0.95
    assert np.mean([exact.get(pair, 0) > 0.62 for pair in merged]) > 0.95


@pytest.mark.parametrize("threshold", [0.5, 0.85])
def test_other_thresholds_hold_as_well(threshold: float) -> None:
    texts = with_near_duplicates(code(250), seed=4)
    exact = similar_pairs(texts, 0.05)
    firsts = near_duplicate_clusters(texts, threshold=threshold)
    alike = [pair for pair, similarity in exact.items() if similarity >= threshold + 0.1]
    merged = [pair for pair in exact if firsts[pair[0]] == firsts[pair[1]]]
    assert len(alike) > 30
    assert np.mean([firsts[a] == firsts[b] for a, b in alike]) > 0.95
    assert np.mean([exact[pair] > threshold - 0.1 for pair in merged]) > 0.95


def test_short_texts_are_the_same_only_with_the_same_words() -> None:
    texts = ["Yes.", "No.", "yes", "Add 3 + 4", "Add 3 * 4", "", "?", "你好", "您好", "你好！"]
    assert near_duplicate_clusters(texts).tolist() == [0, 1, 0, 3, 4, 5, 6, 7, 8, 7]


def test_equal_texts_are_one_cluster_however_many() -> None:
    texts = [f"text number {number}" for number in range(20) for _ in range(200)]
    assert near_duplicate_clusters(texts).tolist() == [index // 200 * 200 for index in range(len(texts))]


def test_texts_of_one_key_that_are_not_alike_stay_apart() -> None:
    # One key for all, and two kinds of signatures: each text is compared with the first of its kind in the end.
    signatures = np.zeros((10, 16), dtype=np.uint16)
    signatures[1::2] = 7
    signatures[:, 0] = np.arange(10)
    keys = [np.zeros(10, dtype=np.uint64)]
    assert cluster(keys, signatures, 0.72).tolist() == [0, 1] * 5


def test_equal_texts_are_found_among_very_many_that_share_their_keys() -> None:
    signatures = np.arange(3000 * 16, dtype=np.uint16).reshape(3000, 16)
    signatures[2000:] = signatures[1000:2000]
    assert cluster([np.zeros(3000, dtype=np.uint64)], signatures, 0.72).tolist() == [*range(2000), *range(1000, 2000)]


def test_a_key_of_very_many_different_texts_comes_to_an_end() -> None:
    signatures = np.arange(3000 * 16, dtype=np.uint16).reshape(3000, 16)
    assert cluster([np.zeros(3000, dtype=np.uint64)], signatures, 0.72).tolist() == list(range(3000))


def test_no_texts_are_no_clusters() -> None:
    assert near_duplicate_clusters([]).tolist() == []
