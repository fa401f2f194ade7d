"""Rules about duplicates, run as the engine runs them: sketches of parts, decisions, verdicts."""

from __future__ import annotations

import pickle
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.clean.duplicates_exact import ExactDuplicateRule
from hfrecipes.data.clean.duplicates_near import NearDuplicateRule
from hfrecipes.data.clean.pieces import normalize, split_pieces
from hfrecipes.data.clean.rule import CorpusRule, Document, Verdict
from hfrecipes.recipe.cleaning import ExactDuplicates, NearDuplicates
from tests.data.clean.near_duplicate_corpora import code, with_near_duplicates

LEVELS = ["document", "paragraph", "line"]
LONG_LINE = (
    "Share this page with all of your friends on every network that there is, or print it, or send it by mail today."
)


def documents_of(*rows: str | tuple[str, ...]) -> list[Document]:
    return [Document(f"web.jsonl:{i + 1}", (row,) if isinstance(row, str) else row) for i, row in enumerate(rows)]


def run(rule: CorpusRule, documents: Sequence[Document], part_size: int = 3) -> list[Verdict]:
    """The verdicts over parts of a size, as the engine gets them: through files, and with pickled rules."""
    parts = [documents[start : start + part_size] for start in range(0, len(documents), part_size)]
    with tempfile.TemporaryDirectory() as name:
        sketches = [Path(name) / f"sketch-{number}.npz" for number in range(len(parts))]
        decisions = [Path(name) / "decided" / f"{number:05d}.npz" for number in range(len(parts))]
        (Path(name) / "decided").mkdir()
        for part, sketch in reversed(list(zip(parts, sketches, strict=True))):
            np.savez(sketch, **pickle.loads(pickle.dumps(rule)).sketch(part))
        rule.resolve(sketches, decisions)
        assert sorted((Path(name) / "decided").iterdir()) == decisions  # nothing else is left there
        verdicts = []
        for part, decision in zip(parts, decisions, strict=True):
            with np.load(decision, allow_pickle=False) as file:
                verdicts += rule.judge(part, dict(file))
        return verdicts


def exact(level: str | None = None, **words: int) -> ExactDuplicateRule:
    return ExactDuplicateRule(ExactDuplicates(level=level, **words))


def near(level: str | None = None, **words: float) -> NearDuplicateRule:
    return NearDuplicateRule(NearDuplicates(level=level, **words))


def test_the_first_of_equal_documents_is_kept_and_repeats_name_it() -> None:
    verdicts = run(exact(), documents_of("one", "two", "one", "three", "two ", "One"))
    assert [verdict.reason for verdict in verdicts] == [None, None, "duplicate", None, "duplicate", None]
    assert verdicts[2].detail == "the same as web.jsonl:1"
    assert verdicts[4].detail == "the same as web.jsonl:2"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("caf\u00e9", "cafe\u0301", True),
        ("a  b\t c", "a b c", True),
        ("a\r\nb\r\n", "a\nb", True),
        ("a\n\n\nb  ", "a\nb", True),
        ("if x:\n    y\n    z", "if x:\n    y\nz", False),
        ("Word", "word", False),
        ("a, b", "a b", False),
        ("ﬁ", "fi", False),
        ("你好　世界", "你好 世界", True),
    ],
)
def test_what_makes_documents_equal(one: str, other: str, same: bool) -> None:
    assert (normalize(one) == normalize(other)) is same
    assert (run(exact(), documents_of(one, other))[1].reason is not None) is same


def test_all_texts_of_a_row_have_to_be_equal() -> None:
    rows = [("hi", "hello"), ("hi", "good day"), ("hi", "hello "), ("hihello",), ("", "hihello"), ("hi", "hello", "")]
    assert [v.reason for v in run(exact(), documents_of(*rows))] == [None, None, "duplicate", None, None, None]


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.sampled_from(["a", "B", "b", " a", "é", "e\u0301", ""]), min_size=1, max_size=2), max_size=9)
)
def test_exact_duplicates_are_those_of_a_dictionary_for_any_parts(rows: list[list[str]]) -> None:
    documents = documents_of(*map(tuple, rows))
    seen: set[tuple[str, ...]] = set()
    expected = []
    for row in rows:
        key = tuple(unicodedata.normalize("NFC", text).strip() for text in row)
        expected.append(key in seen)
        seen.add(key)
    for size in (1, 2, 100):
        assert [verdict.reason is not None for verdict in run(exact(), documents, size)] == expected


@pytest.mark.parametrize("rule", [exact, near])
@pytest.mark.parametrize("level", LEVELS)
def test_the_result_does_not_depend_on_the_size_of_parts(rule: type, level: str) -> None:
    texts = with_near_duplicates(code(60), seed=5)
    documents = documents_of(
        *texts, *texts[:20], *(f"{a}\n\n{LONG_LINE}\n\n{b}" for a, b in zip(texts, texts[7:40], strict=False))
    )
    results = [run(rule(level, min_characters=10), documents, size) for size in (5, 11, 1000)]
    assert results[0] == results[1] == results[2]
    assert sum(verdict.reason is not None or verdict.texts is not None for verdict in results[0]) > 10


def test_repeated_lines_are_cut_out_and_the_first_stays() -> None:
    documents = documents_of(
        f"one\n{LONG_LINE}\ntwo", f"{LONG_LINE}\nthree", f"four\n  {LONG_LINE}\n{LONG_LINE}\n", "one"
    )
    for rule in (exact("line"), near("line")):
        verdicts = run(rule, documents)
        assert [verdict.texts for verdict in verdicts] == [None, ("three",), ("four\n",), None]
        assert [dict(verdict.counts) for verdict in verdicts] == [{}, {"lines": 1}, {"lines": 2}, {}]
        assert all(verdict.reason is None for verdict in verdicts)


def test_a_cut_end_takes_its_separator_along() -> None:
    documents = documents_of(
        f"a\n\n{LONG_LINE}\n\nb", f"c\n\n{LONG_LINE}", f"{LONG_LINE}\n\nd", f"e\n\n{LONG_LINE}\n\nf"
    )
    verdicts = run(exact("paragraph"), documents)
    assert [verdict.texts for verdict in verdicts] == [None, ("c",), ("d",), ("e\n\nf",)]
    assert dict(verdicts[1].counts) == {"paragraphs": 1}


@pytest.mark.parametrize("level", ["paragraph", "line"])
def test_a_document_of_repeats_only_is_left_out(level: str) -> None:
    documents = documents_of(f"x\n\n{LONG_LINE}\n\n", f"{LONG_LINE}\n\n{LONG_LINE}\n")
    for rule in (exact(level), near(level)):
        verdict = run(rule, documents)[1]
        assert verdict.reason == "only_repeats"
        assert f"every {level}" in verdict.detail
        assert dict(verdict.counts) == {f"{level}s": 2}


def test_short_pieces_may_repeat() -> None:
    documents = documents_of("}\n    return result\n", "}\n    return result\n")
    assert all(verdict.texts is None and verdict.reason is None for verdict in run(exact("line"), documents))
    assert run(exact("line", min_characters=0), documents)[1].reason == "only_repeats"


@pytest.mark.parametrize("level", ["paragraph", "line"])
def test_conversations_are_not_edited(level: str) -> None:
    documents = documents_of(LONG_LINE, (LONG_LINE, LONG_LINE), (LONG_LINE, ""))
    for rule in (exact(level), near(level)):
        assert all(verdict.reason is None and verdict.texts is None for verdict in run(rule, documents))


@given(st.text(alphabet="ab \n\t\r", max_size=30))
def test_pieces_joined_are_the_text(text: str) -> None:
    for level in ("paragraph", "line"):
        pieces = split_pieces(text, level)
        assert "".join(pieces) == text and all(pieces)
    assert [line.rstrip("\n") for line in split_pieces(text, "line")] == (
        text[:-1] if text[-1:] == "\n" else text
    ).split("\n")[: len(split_pieces(text, "line"))]


def test_near_duplicates_name_the_first_and_how_alike_they_are() -> None:
    words = [f"word{number}" for number in range(200)]
    edited = [*words[:100], "another", *words[101:]]
    others = [f"other{number}" for number in range(200)]
    verdicts = run(near(), documents_of(" ".join(words), " ".join(others), " ".join(edited)))
    assert [verdict.reason for verdict in verdicts] == [None, None, "near_duplicate"]
    place, similarity = verdicts[2].detail.rstrip(")").split(" (Jaccard ")
    assert place == "nearly the same as web.jsonl:1"
    assert float(similarity) == pytest.approx(191 / 201, abs=0.08)


def test_a_conversation_is_compared_as_a_whole() -> None:
    question = " ".join(f"q{number}" for number in range(60))
    answer = " ".join(f"a{number}" for number in range(60))
    verdicts = run(
        near(), documents_of((question, answer), (question, "something else " * 30), (question + " please", answer))
    )
    assert [verdict.reason for verdict in verdicts] == [None, None, "near_duplicate"]


def test_a_higher_threshold_keeps_more() -> None:
    texts = with_near_duplicates(code(100), seed=6)
    kept = [sum(v.reason is None for v in run(near(threshold=t), documents_of(*texts), 50)) for t in (0.4, 0.72, 0.95)]
    assert kept[0] < kept[1] < kept[2] < len(texts)


def test_places_in_other_scripts_and_long_ones_are_told() -> None:
    long = "d/" * 100 + "文.jsonl:3"
    documents = [Document("文.jsonl:1", ("x",)), Document("b", ("x",)), Document(long, ("y",)), Document("c", ("y",))]
    details = [verdict.detail for verdict in run(exact(), documents, 1)]
    assert details[1] == "the same as 文.jsonl:1"
    assert details[3].endswith("文.jsonl:3")


@pytest.mark.parametrize("level", LEVELS)
def test_no_documents_and_empty_ones_are_no_trouble(level: str) -> None:
    for rule in (exact(level), near(level)):
        rule.resolve([], [])
        assert run(rule, documents_of("", "", " \n\n \n"), 1)[0].reason is None
        assert {name: len(array) for name, array in rule.sketch([]).items()}.get("signatures", 0) == 0


def test_the_same_documents_give_the_same_sketch() -> None:
    documents = documents_of(*code(20))
    for rule in (exact(), near()):
        one, other = rule.sketch(documents), rule.sketch(documents)
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
