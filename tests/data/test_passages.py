"""Passages hold all of a text, are the same text to every tokenizer, and count the bytes that are predicted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hfrecipes.data.passages import cut_passages, passage_rows
from hfrecipes.tokenization.extension import extend_tokenizer
from hfrecipes.tokenization.tokenizer import Tokenizer
from tests.tokenization.bpe_families import FAMILIES, OLD_TEXTS, new_texts, write

TEXTS = ["", "a", *OLD_TEXTS[:4], *new_texts(3), "é🦊 " * 40]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("length", [2, 20, 64, 1000])
def test_passages_joined_are_the_texts(family: str, length: int, tmp_path: Path) -> None:
    passages = cut_passages(TEXTS, Tokenizer.load(write(family, tmp_path)), length)
    assert "".join(passages) == "".join(TEXTS)
    assert len(passages) > len(TEXTS) or length == 1000


@pytest.mark.parametrize("family", FAMILIES)
def test_a_passage_fills_most_of_a_row_and_fits_into_it(family: str, tmp_path: Path) -> None:
    old = Tokenizer.load(write(family, tmp_path / "old"))
    extend_tokenizer(old, new_texts(100), 100, tmp_path / "new", "my.yaml:1")
    passages = cut_passages(TEXTS, old, 64)
    for tokenizer in (old, Tokenizer.load(tmp_path / "new")):
        rows = passage_rows(passages, tokenizer, 64)
        assert max(len(row["input_ids"]) for row in rows.rows) <= 64
        # One row for each passage: both models see as much text before each character.
        assert len(set(rows.owners.tolist())) == len(rows.rows)
    assert np.median([len(ids) for ids in old.encode_ids(passages)]) > 40


@pytest.mark.parametrize("family", FAMILIES)
def test_all_bytes_but_those_of_the_first_token_are_counted(family: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write(family, tmp_path))
    texts = [text for text in TEXTS if len(text) > 1]
    rows = passage_rows(texts, tokenizer, 10_000)
    counted = rows.by_passage(np.array([row["num_bytes"] for row in rows.rows]))
    for text, encoding, found in zip(texts, tokenizer.encode_batch(texts), counted, strict=True):
        begins_with_mark = encoding.ids[0] == tokenizer.bos_token_id
        unseen = "" if begins_with_mark else text[slice(*encoding.offsets[0])]
        assert found == len(text.encode()) - len(unseen.encode())


def test_a_passage_that_is_longer_than_a_row_is_summed_over_its_rows(tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(write("gpt2", tmp_path))
    rows = passage_rows(["x", "a b c d e f g h", ""], tokenizer, 4)
    assert max(len(row["input_ids"]) for row in rows.rows) == 4
    joined = [token for row in rows.rows for token in row["input_ids"]]
    assert joined == tokenizer.encode_ids(["a b c d e f g h"])[0][: len(joined)]
    assert rows.by_passage(np.ones(len(rows.rows))).tolist() == [0, len(rows.rows), 0]
