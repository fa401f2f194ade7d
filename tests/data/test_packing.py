"""Packing loses nothing and mixes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.data.packing import pack_documents, packed_bytes, token_bytes
from hfrecipes.tokenization.tokenizer import Tokenizer

EOS = 0
documents = st.lists(st.lists(st.integers(1, 500), max_size=30), max_size=12)
lengths = st.integers(2, 17)


@given(documents=documents, length=lengths, mask=st.booleans())
def test_rows_joined_are_the_documents_joined(documents: list[list[int]], length: int, mask: bool) -> None:
    rows = list(pack_documents(documents, length, EOS, mask))
    stream = [token for document in documents for token in [*document, EOS]]
    cut = [stream[start : start + length] for start in range(0, len(stream), length)]
    # The oracle of what can be predicted: without a mask all but a row's first token; with one, what follows no EOS.
    taught = [row for row in cut if len(row) > 1 and (not mask or any(token != EOS for token in row[:-1]))]
    assert [row.input_ids.tolist() for row in rows] == taught
    assert all((row.labels[1:] != -100).any() for row in rows)
    assert all(row.input_ids.dtype == np.int32 and len(row.labels) == len(row.input_ids) for row in rows)


@given(documents=documents, length=lengths)
def test_without_a_mask_every_token_is_a_target(documents: list[list[int]], length: int) -> None:
    for row in pack_documents(documents, length, EOS):
        assert row.labels.tolist() == row.input_ids.tolist()
        assert row.position_ids is None


def test_only_a_row_with_nothing_to_predict_is_left_out() -> None:
    assert [row.input_ids.tolist() for row in pack_documents([[1, 2, 3, 4]], 4, EOS)] == [[1, 2, 3, 4]]
    assert [row.input_ids.tolist() for row in pack_documents([[1, 2, 3]], 3, EOS)] == [[1, 2, 3]]
    assert [row.input_ids.tolist() for row in pack_documents([[1, 2, 3, 4]], 3, EOS)] == [[1, 2, 3], [4, EOS]]
    # documents of one token each: without a mask the next EOS can be predicted, with one nothing can
    assert len(list(pack_documents([[], [], []], 3, EOS, document_mask=False))) == 1
    assert list(pack_documents([[], [], []], 3, EOS, document_mask=True)) == []


@given(documents=documents, length=lengths)
def test_with_a_mask_documents_are_kept_apart(documents: list[list[int]], length: int) -> None:
    # The oracle walks the rows token by token: a document ends behind its EOS, and a row ends all sight.
    for row in pack_documents(documents, length, EOS, document_mask=True):
        assert row.position_ids is not None
        position, begins = 0, False
        for index, (token, label, said) in enumerate(zip(row.input_ids, row.labels, row.position_ids, strict=True)):
            position = 0 if begins or index == 0 else position + 1
            assert said == position
            assert label == (-100 if begins and index > 0 else token)
            begins = token == EOS


def test_a_row_of_one_token_is_refused() -> None:
    with pytest.raises(ValueError, match="context_length is 1"):
        list(pack_documents([[1]], 1, EOS))


@given(texts=st.lists(st.text(min_size=1, max_size=30), max_size=6), length=st.integers(8, 17), mask=st.booleans())
def test_bytes_of_the_rows_are_those_of_the_documents(
    texts: list[str], length: int, mask: bool, tokenizer: Tokenizer
) -> None:
    encodings = tokenizer.encode_batch(texts)
    sizes = [token_bytes(text, encoding.offsets) for text, encoding in zip(texts, encodings, strict=True)]
    for text, encoding, size in zip(texts, encodings, sizes, strict=True):
        assert len(size) == len(encoding.ids) and size.sum() == len(text.encode()) and (size >= 0).all()
    counted = list(packed_bytes(sizes, length, mask))
    rows = list(pack_documents([encoding.ids for encoding in encodings], length, EOS, mask))
    assert len(counted) == len(rows)
    assert sum(counted) == sum(len(text.encode()) for text in texts)


def test_bytes_under_each_token_by_hand() -> None:
    # BOS, "é" over two tokens, a space that no token covers, "ab", EOS
    offsets = [(0, 0), (0, 1), (0, 1), (2, 4), (0, 0)]
    assert token_bytes("é ab", offsets).tolist() == [0, 2, 0, 3, 0]
    assert token_bytes("ab  ", [(0, 2)]).tolist() == [4]
    assert token_bytes("", []).tolist() == []
