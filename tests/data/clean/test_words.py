"""Words, counts and sentences against plain restatements of what they should be."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.data.clean import words
from hfrecipes.data.clean.chunks import split_chunk
from hfrecipes.data.clean.words import count_sentences, count_words, split_chunks, split_words, unify_line_ends

MIXED = st.text(alphabet=st.sampled_from(list("ab Az09.,:;'\"-_#()[]/…“”’\n\t\r学而はสัวि한🙂\x00@+=%$")), max_size=60)


@given(MIXED | st.text(max_size=40))
def test_words_together_are_the_text_without_its_white_space(text):
    assert "".join(split_words(text)) == "".join(text.split())


@given(MIXED | st.text(max_size=40))
def test_counts_are_those_of_the_words(text):
    tokens = split_words(text)
    named = [token for token in tokens if any(character.isalnum() for character in token)]
    alphabetic = [token for token in tokens if any(character.isalpha() for character in token)]
    assert count_words(text) == (len(tokens), len(named), sum(map(len, named)), len(alphabetic))


@given(MIXED)
def test_no_word_has_white_space_and_none_is_empty(text):
    assert all(word and word == "".join(word.split()) for word in split_words(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, world!", ["Hello", ",", "world", "!"]),
        ("We don't know he'd gone.", ["We", "do", "n't", "know", "he", "'d", "gone", "."]),
        ("the dog's well-known 3.14", ["the", "dog", "'s", "well", "-", "known", "3.14"]),
        ("Mr. J. Smith, e.g. (i.e. him)...", ["Mr.", "J.", "Smith", ",", "e.g.", "(", "i.e.", "him", ")", "..."]),
        ("see https://a.org/b-c?d=e.", ["see", "https://a.org/b-c?d=e", "."]),
        ("5km cannot banish'd", ["5", "km", "can", "not", "banish'd"]),
        ("学而时习之，不亦说乎？", list("学而时习之，不亦说乎？")),
        ("12，34；v2（新）", ["12", "，", "34", "；", "v2", "（", "新", "）"]),
        ("Python很好用", ["Python", "很", "好", "用"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("안녕하세요 여러분!", ["안녕하세요", "여러분", "!"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया", "।"]),
        ("مرحبا، كيف حالك؟", ["مرحبا", "،", "كيف", "حالك", "؟"]),
        ("\x00\x00", ["\x00\x00"]),
        ("", []),
    ],
)
def test_words_of_many_scripts(text, expected):
    assert split_words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two! Three?", 3),
        ("Mr. Smith paid 3.50 at a.org.", 1),
        ("He asked why?! She left.", 2),
        ("Wait... there is more.", 1),
        ('"Go." He went.', 2),
        ("子曰：学而时习之。不亦说乎？", 2),
        ("यह एक है। यह दो है।", 2),
        ("...", 1),
    ],
)
def test_sentences_end_at_marks_and_not_inside_numbers_and_abbreviations(text, expected):
    assert count_sentences(text) == expected


def test_line_ends_of_windows_and_old_macs_become_line_feeds():
    assert unify_line_ends("a\r\nb\rc\n") == "a\nb\nc\n"


def test_pieces_are_those_of_str_split_where_no_script_is_without_spaces():
    text = "Ünïcode\u00a0and\u2003spaces \x1c here Ελληνικά русский"
    assert split_chunks(text) == text.split()


def test_the_table_of_chunks_stays_bounded_and_its_answers_the_same(monkeypatch):
    monkeypatch.setattr(words, "_CACHED_CHUNKS", 10)
    table = words.ChunkTable(split_chunk)
    for number in range(100):
        assert table[f"w{number}."] == [f"w{number}", "."]
        assert len(table) <= 10
    table["x" * 1000]
    assert "x" * 1000 not in table


@pytest.mark.parametrize("piece", ["a", "=", ".", "a.", "x'", "a-", "(", "/a", "@", "!a"])
def test_a_chunk_of_a_megabyte_takes_no_more_than_linear_time(piece):
    def seconds(characters):
        chunk = piece * (characters // len(piece))
        start = time.process_time()
        assert "".join(split_chunk(chunk)) == chunk
        return time.process_time() - start

    assert seconds(1_000_000) < max(40 * seconds(100_000), 1.0)


def test_every_mark_inside_is_found_by_a_plain_search():
    for left, mark, right in [("one", "-", "two"), ("one", "--", "two"), ("a", ",", "b"), ("key", "=", "value")]:
        assert split_chunk(left + mark + right) == re.findall(r"\w+|\W+", left + mark + right)
