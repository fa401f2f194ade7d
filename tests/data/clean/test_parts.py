"""Records come back from disk as they were, and parts end where they should."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.clean import parts
from hfrecipes.data.clean.parts import in_parts, read_part, write_part
from hfrecipes.data.clean.records import Record, with_texts
from hfrecipes.data.formats import example_texts

_TEXT = st.text(max_size=30)
_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant"])},
    optional={"content": st.none() | _TEXT | st.just([{"type": "text", "text": "a"}]), "name": _TEXT},
)
_SIDE = st.one_of(_TEXT, st.lists(_MESSAGE, max_size=4))
EXAMPLES = st.one_of(
    st.fixed_dictionaries({"text": _TEXT}),
    st.fixed_dictionaries({"messages": st.lists(_MESSAGE, max_size=4)}),
    st.fixed_dictionaries({"prompt": _SIDE, "completion": _SIDE}),
    st.fixed_dictionaries({"prompt": _SIDE, "chosen": _SIDE, "rejected": _SIDE}),
)


def record(text: str, where: str = "a:1") -> Record:
    return Record(where, json.dumps({"text": text}).encode(), b"{}")


@given(EXAMPLES, st.data())
def test_texts_are_put_back_where_they_were_taken_from(example: dict[str, Any], data: st.DataObject) -> None:
    count = len(example_texts(example))
    texts = data.draw(st.lists(_TEXT, min_size=count, max_size=count))
    changed = with_texts(example, texts)
    assert example_texts(changed) == texts
    assert with_texts(changed, example_texts(example)) == example


def test_texts_that_are_not_as_many_are_refused() -> None:
    with pytest.raises(ValueError, match="3 texts for an example of 2"):
        with_texts({"prompt": "a", "completion": "b"}, ["a", "b", "c"])
    with pytest.raises(ValueError, match="1 texts for an example of 2"):
        with_texts({"prompt": "a", "completion": "b"}, ["a"])


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(st.characters(codec=None)), _TEXT, st.none() | st.integers(0, 2**40)), max_size=20))
def test_records_come_back_from_a_file(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = tmp_path_factory.mktemp("part") / "documents.arrow"
    records = [Record(where, text.encode(), b"{}", tokens) for where, text, tokens in rows]
    write_part(path, records)
    assert read_part(path) == records


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    records = [record(f"text {number}" * 50) for number in range(200)]
    write_part(tmp_path / "a", records)
    write_part(tmp_path / "b", read_part(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parts_end_by_number_or_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_RECORDS", 3)
    monkeypatch.setattr(parts, "MAX_BYTES", 200)
    small, large = record("a"), record("a" * 300)
    assert [len(part) for part in in_parts([small] * 7)] == [3, 3, 1]
    assert [len(part) for part in in_parts([small, large, small, large])] == [2, 2]
    assert list(in_parts([])) == []
