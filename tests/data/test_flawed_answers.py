"""Docstrings with a flaw: each has the flaw that it is named after, no other, and the halves of the training files stay apart."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from hfrecipes.data.embedded import HALVES, mined, open_embedded
from hfrecipes.data.flawed_answers import FLAWS, mine_flaws
from hfrecipes.data.mining import Piece
from hfrecipes.recipe.problem import RecipeError

Found = list[tuple[Piece, str]]


@pytest.fixture(scope="module")
def flawed() -> dict[str, Found]:
    pieces = [piece for piece in mined("python_docstrings") if piece.split != "train"]
    return {flaw: list(mine_flaws(pieces, (flaw,))) for flaw in FLAWS}


def test_every_flaw_is_found_in_most_functions_and_changes_the_docstring(flawed: dict[str, Found]) -> None:
    whole = len(flawed["cut"])
    assert whole > 250 and all(len(found) > 0.6 * whole for found in flawed.values())
    assert all(piece.summary != text for found in flawed.values() for piece, text in found)


def test_what_is_cut_is_a_beginning_without_its_end(flawed: dict[str, Found]) -> None:
    for piece, text in flawed["cut"]:
        assert piece.summary.startswith(text) and text[-1] not in ".,;:!?"
        assert 0.3 * len(piece.summary.split()) < len(text.split()) < len(piece.summary.split())


def test_shuffled_words_are_the_same_in_another_order(flawed: dict[str, Found]) -> None:
    for piece, text in flawed["shuffled"]:
        said, mixed = piece.summary.split(), text.split()
        assert Counter(said) == Counter(mixed) and said != mixed


def test_what_is_repeated_stands_twice_in_a_row(flawed: dict[str, Found]) -> None:
    for piece, text in flawed["repeated"]:
        said, words = piece.summary.split(), text.split()
        length = len(words) - len(said)
        assert 2 <= length <= 4
        places = [at for at in range(len(said)) if words[at : at + length] == words[at + length : at + 2 * length]]
        assert any(words[:at] + words[at + length :] == said for at in places)


def test_a_name_that_the_function_does_not_have_takes_the_place_of_one_that_it_has(flawed: dict[str, Found]) -> None:
    for piece, text in flawed["renamed"]:
        was, now = (set(re.findall(r"\w+", said)) for said in (piece.summary, text))
        (gone,) = was - now
        (strange,) = now - was
        assert re.search(rf"\b{gone}\b", piece.text) and not re.search(rf"\b{strange}\b", piece.text, re.IGNORECASE)


def test_flaws_are_the_same_each_time_and_no_other_for_other_pieces(flawed: dict[str, Found]) -> None:
    pieces = [piece for piece in mined("python_docstrings") if piece.split != "train"]
    for flaw in ("cut", "shuffled", "repeated"):
        assert list(mine_flaws(pieces[::2], (flaw,))) == [
            (piece, text) for piece, text in flawed[flaw] if piece in pieces[::2]
        ]
    assert list(mine_flaws(pieces, ("renamed",))) == flawed["renamed"]


def test_a_subset_holds_the_rows_of_its_flaw() -> None:
    def rows(subset: str | None) -> list[str]:
        spec = {"name": "python_flaws", "subset": subset, "split": "test"}
        return [str(row.values) for row in open_embedded(spec, "here").rows()]

    assert sorted(rows(None)) == sorted(row for flaw in FLAWS for row in rows(flaw))
    assert (
        open_embedded({"name": "python_flaws", "subset": "cut", "split": "test"}, "").title == "python_flaws/cut/test"
    )


@pytest.mark.parametrize("name", ["python_docstrings", "python_preferences", "python_flaws"])
def test_the_halves_are_of_different_files_and_leave_little_out(name: str) -> None:
    found = {split: list(open_embedded({"name": name, "split": split}, "here").rows()) for split in ("train", *HALVES)}
    files = {split: {row.where.rpartition(":")[0] for row in rows} for split, rows in found.items()}
    assert files["train_a"] and files["train_b"] and not files["train_a"] & files["train_b"]
    assert files["train_a"] | files["train_b"] <= files["train"]
    in_halves = len(found["train_a"]) + len(found["train_b"])
    assert in_halves == len(found["train"]) if name != "python_preferences" else in_halves > 0.9 * len(found["train"])


def test_no_answer_of_one_half_stands_in_the_other() -> None:
    said = {}
    for split in HALVES:
        rows = open_embedded({"name": "python_preferences", "split": split}, "here").rows()
        said[split] = {row.values[side][0]["content"] for row in rows for side in ("chosen", "rejected")}
    # A few sentences are said of functions of several files.
    assert len(said["train_a"] & said["train_b"]) < 0.03 * len(said["train_a"])


def test_a_flaw_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no subset 'cutt' \(it has cut, shuffled, repeated, renamed\)"):
        open_embedded({"name": "python_flaws", "subset": "cutt"}, "here")
    with pytest.raises(RecipeError, match="no split 'train_c'"):
        open_embedded({"name": "python_flaws", "split": "train_c"}, "here")
