"""Words and their hashes, against Python's own integers and a reader that goes character by character."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.data.clean.shingles import shingle
from hfrecipes.data.clean.word_hashes import hash_windows, hash_words, mix, numbered_hashes, weigh_words
from tests.data.clean.near_duplicate_corpora import ngrams

WORD = 2**64
BASE = 0xD1342543DE82EF95
# Pieces of many scripts, with symbols, marks, spaces and what is invisible.
PIECES = [
    "The",
    "the",
    "Straße",
    "don’t",
    "x",
    "==",
    "=",
    "-",
    "3",
    "+",
    "論",
    "語",
    "。",
    ", ",
    "  ",
    "\n",
    "ﬁ",
    "é",
    "🦊",
    "_",
    "\u00ad",
]
texts = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


def mixed(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % WORD
    return value ^ (value >> 31)


def hash_of(word: str) -> int:
    return mixed(sum((ord(character) + 1) * pow(BASE, place, WORD) for place, character in enumerate(word)) % WORD)


def words_of(text: str, symbols: bool = False) -> list[int]:
    return hash_words([text], symbols).hashes.tolist()


def test_a_word_has_the_hash_that_the_formula_says() -> None:
    assert words_of("To be, or not: 学而") == [hash_of(word) for word in ["to", "be", "or", "not", "学", "而"]]


def test_a_run_of_words_has_the_hash_that_the_formula_says() -> None:
    words = hash_words(["to be or not"], symbols=False).hashes
    to, be, or_, not_ = words.tolist()
    assert hash_windows(words, 3).tolist() == [
        mixed(((to * BASE + be) * BASE + or_) % WORD),
        mixed(((be * BASE + or_) * BASE + not_) % WORD),
    ]
    assert hash_windows(words, 5).tolist() == []


def test_hashes_are_frozen() -> None:
    # Written down once: sketches on disk and evaluation indices of one version must stay comparable.
    assert words_of("recipe") == [hash_of("recipe")] == [7115973967913653102]
    assert numbered_hashes(2).tolist() == [16294208416658607535, 7960286522194355700]  # splitmix64 from 0, published
    assert mix(np.array([1], dtype=np.uint64)).tolist() == [mixed(1)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Don’t STOP", "dont stop"),
        ("STRASSE", "straße"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("cafe\u0301", "café"),
        ("soft\u00adhyphen", "softhyphen"),
        ("a,b;c", "a  b\n\nc"),
        ("学而时习之，不亦说乎", "学而 时习之 不亦说乎。"),
    ],
)
def test_case_form_and_punctuation_make_no_difference(one: str, other: str) -> None:
    assert words_of(one) == words_of(other) != []


def test_symbols_are_words_only_where_asked_for() -> None:
    assert words_of("What is 3 + 4?") == words_of("What is 3 * 4?")
    assert words_of("What is 3 + 4?", symbols=True) != words_of("What is 3 * 4?", symbols=True)
    assert words_of("a == b", symbols=True) != words_of("a = b", symbols=True)


def test_a_text_without_spaces_has_a_word_for_each_character() -> None:
    assert [len(words_of(text)) for text in ("学而时习之", "ひらがな", "ภาษาไทย", "한국어 말", "hello")] == [
        5,
        4,
        7,
        2,
        1,
    ]


def test_words_weigh_what_they_say() -> None:
    assert weigh_words(hash_words(["two words + 汉字"], symbols=True)).tolist() == [1, 1, 0, 0.5, 0.5]


@given(st.lists(texts, max_size=6))
def test_a_text_reads_the_same_alone_and_among_others(batch: list[str]) -> None:
    together = hash_words(batch, symbols=True)
    apart = [words_of(text, symbols=True) for text in batch]
    bounds = together.bounds
    assert [together.hashes[bounds[i] : bounds[i + 1]].tolist() for i in range(len(batch))] == apart


@given(texts, texts)
def test_ngrams_are_those_of_a_reader_of_characters(one: str, other: str) -> None:
    hashes, bounds = shingle([one, other], 3)
    first, second = set(hashes[: bounds[1]].tolist()), set(hashes[bounds[1] :].tolist())
    a, b = ngrams(one, 3), ngrams(other, 3)
    if a != {()} and b != {()}:  # texts without words are compared as they stand
        assert (len(first), len(second), len(first & second)) == (len(a), len(b), len(a & b))


def test_texts_without_words_are_the_same_only_when_equal() -> None:
    hashes, bounds = shingle(["?!", " ?! ", "!?", "", "  "], 5)
    assert bounds.tolist() == [0, 1, 2, 3, 4, 5]
    assert hashes[0] == hashes[1] and hashes[3] == hashes[4]
    assert len(set(hashes.tolist())) == 3


def test_broken_surrogates_are_read() -> None:
    assert words_of("a \ud800 b") == words_of("a b")


def test_a_very_long_word_and_text_are_read() -> None:
    assert words_of("x" * 200_000) != words_of("x" * 199_999)
    assert len(words_of("word " * 100_000)) == 100_000
