"""Preferences and rankings of docstrings: whose they are, that lengths do not tell them apart, that splits stay apart."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hfrecipes.data.embedded import mined, open_embedded
from hfrecipes.data.hashing import SPLITS
from hfrecipes.data.mined_preferences import RANKS, mine_preferences, mine_rankings
from hfrecipes.data.mining import Piece


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    return mined("python_docstrings")


@pytest.fixture(scope="module")
def pairs(pieces: list[Piece]) -> list[tuple[Piece, Piece]]:
    return mine_preferences(pieces)


def test_each_docstring_is_chosen_once_and_rejected_once(pairs: list[tuple[Piece, Piece]], pieces: list[Piece]) -> None:
    place = {id(piece): number for number, piece in enumerate(pieces)}
    chosen = Counter(place[id(better)] for better, _ in pairs)
    assert set(chosen.values()) == {1}
    assert chosen == Counter(place[id(worse)] for _, worse in pairs)
    assert len(pairs) > 0.97 * len(pieces)


def test_pairs_stay_in_their_split_and_mostly_in_their_file(pairs: list[tuple[Piece, Piece]]) -> None:
    assert all(better.split == worse.split and better.summary != worse.summary for better, worse in pairs)
    assert np.mean([better.file == worse.file for better, worse in pairs]) > 0.8


def test_length_does_not_tell_the_two_apart(pairs: list[tuple[Piece, Piece]]) -> None:
    lengths = np.array([[len(better.summary), len(worse.summary)] for better, worse in pairs])
    uneven = lengths[:, 0] != lengths[:, 1]
    assert np.mean(lengths[uneven, 0] > lengths[uneven, 1]) == 0.5
    assert np.median(abs(lengths[:, 0] - lengths[:, 1])) <= 5


def test_rankings_go_from_the_own_docstring_to_those_of_other_files(pieces: list[Piece]) -> None:
    rankings = mine_rankings(pieces)
    assert len(rankings) > 0.7 * len(pieces)
    for piece, others in rankings:
        assert len(others) + 1 == len(RANKS) and len({each.summary for each in (piece, *others)}) == len(RANKS)
        assert others[0].file == piece.file and all(other.file != piece.file for other in others[1:])
        assert all(other.split == piece.split for other in others)
    means = np.mean([[len(each.summary) for each in (piece, *others)] for piece, others in rankings], axis=0)
    assert np.ptp(means) < 0.05 * means.mean()


@pytest.mark.parametrize("name", ["python_preferences", "python_rankings"])
def test_rows_are_the_same_each_time_and_fall_into_splits(name: str) -> None:
    sources = {split: open_embedded({"name": name, "split": split}, "here") for split in SPLITS}
    rows = {split: [row.values for row in source.rows()] for split, source in sources.items()}
    assert sources["test"].revision == open_embedded({"name": name, "split": "test"}, "here").revision
    assert len({source.revision for source in sources.values()}) == 3
    prompts = {split: {row["prompt"][0]["content"] for row in found} for split, found in rows.items()}
    assert all(prompts.values()) and not prompts["train"] & (prompts["validation"] | prompts["test"])
    first = rows["test"][0]
    assert first["prompt"][0]["role"] == "user"
    answers = first["answers"] if name == "python_rankings" else [first["chosen"], first["rejected"]]
    assert all(answer[0]["role"] == "assistant" for answer in answers)
