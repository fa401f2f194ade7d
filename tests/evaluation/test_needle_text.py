"""Needles and haystacks as text: where a needle comes to lie, how much text is around it, and what counts as found."""

from __future__ import annotations

import pytest

from hfrecipes.evaluation.needle_text import WORDINGS, Haystack, is_found, make_needle, split_sentences


def words(text: str) -> int:
    return len(text.split())


SENTENCES = [f" Sentence {number} has five words." for number in range(40)]
HAYSTACK = Haystack.of(["".join(SENTENCES)], words)
NEEDLE = make_needle("en", 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two!  Three? Four", ["One.", " Two!", "  Three?", " Four"]),
        ("天气很好。我们走吧！好吗？好", ["天气很好。", "我们走吧！", "好吗？", "好"]),
        ("他说：“走吧。”我们走。", ["他说：“走吧。”", "我们走。"]),
        ("Version 3.14 is out. It works.", ["Version 3.14 is out.", " It works."]),
        ("a title\n\nIts text.", ["a title\n", "\nIts text."]),
    ],
)
def test_sentences_of_both_languages(text: str, expected: list[str]) -> None:
    assert split_sentences(text) == expected


def test_nothing_of_a_text_is_lost_and_nothing_stays_long_without_an_end() -> None:
    text = "x = 1\n" * 300 + "Done. Really。是的"
    pieces = split_sentences(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 400


@pytest.mark.parametrize("depth", [0, 0.25, 0.5, 0.75, 1])
def test_a_needle_lies_at_its_depth_between_sentences(depth: float) -> None:
    prompt = HAYSTACK.hide(NEEDLE, depth, 200)
    assert prompt.endswith(NEEDLE.cue)
    before, found, after = prompt.removesuffix(NEEDLE.cue).partition(NEEDLE.statement)
    assert found
    assert not before or before.endswith("words.")
    assert words(before) / (words(before) + words(after)) == pytest.approx(depth, abs=5 / 180)


@pytest.mark.parametrize("length", [60, 100, 151])
def test_a_prompt_is_filled_with_whole_sentences_as_far_as_they_fit(length: int) -> None:
    prompt = HAYSTACK.hide(NEEDLE, 0.5, length)
    used = words(prompt + NEEDLE.answer)
    assert length - 5 < used <= length
    assert prompt.count("five words.") == (length - words(NEEDLE.statement + NEEDLE.cue + NEEDLE.answer)) // 5


def test_a_short_haystack_begins_anew() -> None:
    prompt = HAYSTACK.hide(NEEDLE, 1, 300, start=38)
    assert prompt.startswith(" Sentence 38 has five words. Sentence 39 has five words. Sentence 0 has")
    assert prompt.count("Sentence 38 ") == 2


def test_no_room_is_said() -> None:
    assert HAYSTACK.hide(NEEDLE, 0.5, words(NEEDLE.statement + NEEDLE.cue + NEEDLE.answer) + 4) is None


def test_a_count_by_pieces_that_is_too_low_is_made_up_for() -> None:
    # A tokenizer of which every piece has one token less than it adds to a text.
    haystack = Haystack.of(["".join(SENTENCES)], lambda text: words(text) + text.count("words.") // 2)
    prompt = haystack.hide(NEEDLE, 0.5, 120)
    assert haystack.num_tokens(prompt + NEEDLE.answer) <= 120


def test_an_empty_haystack_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no text"):
        Haystack.of(["", "  "], words)


@pytest.mark.parametrize("language", WORDINGS)
def test_needles_differ_from_each_other_and_not_from_themselves(language: str) -> None:
    needles = [make_needle(language, number) for number in range(20)]
    assert needles == [make_needle(language, number) for number in range(20)]
    assert len({needle.number for needle in needles}) == 20
    assert make_needle(language, 0, seed=1) != needles[0]
    for needle in needles:
        assert needle.statement.startswith(needle.cue + needle.answer)
        assert len(set(needle.number)) == len(needle.number) == 5


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("{}", True),
        (" {}. To", True),
        ("\n{}", True),
        ("{}7", False),
        ("the number {}", False),
        ("", False),
        ("٤٨٢١٣", False),
    ],
)
def test_found_is_the_number_and_no_further_digit(written: str, found: bool) -> None:
    assert is_found(written.format(NEEDLE.number), NEEDLE) is found
    assert not is_found(NEEDLE.number[:-1], NEEDLE)
