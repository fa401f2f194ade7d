"""Length, repetition, patterns, tags."""

from __future__ import annotations

import math
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.rewards import Format, Length, RegexMatch, Repetition

WORDS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=12)


def score(reward, completion, **columns) -> float:
    return reward(prompts=["p"], completions=[completion], **columns)[0]


def test_length_is_best_at_its_target_and_falls_on_both_sides() -> None:
    reward = Length(target=3, slope=0.25)
    found = [score(reward, "word " * number) for number in range(5)]
    assert found == [0.25, 0.5, 0.75, 1.0, 0.75]
    assert score(reward, "word " * 100) == -1


def test_length_can_be_counted_in_characters_or_the_models_own_tokens() -> None:
    assert score(Length(5, 0.5, "characters"), "four") == 0.5
    assert score(Length(5, 0.5, "tokens"), "four", completion_ids=[[1, 2, 3, 4]]) == 0.5
    with pytest.raises(ValueError, match="completion_ids"):
        score(Length(5, 0.5, "tokens"), "four")


@settings(max_examples=100, deadline=None, derandomize=True)
@given(WORDS, st.integers(1, 4))
def test_repetition_is_the_share_of_ngrams_that_came_before(words: list[str], n: int) -> None:
    seen, repeated, total = set(), 0, 0
    for start in range(len(words) - n + 1):
        gram = tuple(words[start : start + n])
        total, repeated = total + 1, repeated + (gram in seen)
        seen.add(gram)
    assert score(Repetition(n), " ".join(words)) == pytest.approx(-repeated / max(total, 1))


def test_saying_it_twice_costs_more_and_saying_it_once_nothing() -> None:
    text = "one two three four five six"
    assert score(Repetition(), text) == 0 == score(Repetition(), "one")
    assert -1 < score(Repetition(), f"{text} " * 50) < score(Repetition(), f"{text} " * 2) < 0
    assert score(Repetition(2, "characters"), "哈哈哈哈") == pytest.approx(-2 / 3)
    assert score(Repetition(1, "tokens"), "", completion_ids=[[7, 7]]) == -0.5


def test_a_pattern_is_found_anywhere_or_has_to_fit_the_whole() -> None:
    assert score(RegexMatch(r"\d+"), "about 12") == 1
    assert score(RegexMatch(r"\d+", whole=True), "about 12") == 0
    assert score(RegexMatch(r"(?s)a.b", whole=True), "a\nb") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>why</think><answer>42</answer>", 1),
        ("\n<think>\nwhy\n</think>\n\n<answer> 42 </answer>\n", 1),
        ("<answer>42</answer><think>why</think>", 0),
        ("<think>why</think>42", 0),
        ("Well, <think>why</think><answer>42</answer>", 0),
        ("<think>why</think> so <answer>42</answer>", 0),
        ("<think> </think><answer>42</answer>", 0),
        ("<think>why</think><answer>42</answer> bye", 0),
        ("<think>a</think><think>b</think><answer>42</answer>", 0),
        ("<think>a <answer>1</answer></think><answer>42</answer>", 0),
        ("<think>why</think><answer>42", 0),
        ("", 0),
    ],
)
def test_tags_stand_once_in_order_with_nothing_between(text: str, expected: int) -> None:
    assert score(Format(), text) == expected


def test_other_tags_can_be_asked_for() -> None:
    assert score(Format(["plan", "code", "test"]), "<plan>p</plan><code>c</code><test>t</test>") == 1


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.text(alphabet="ab <>/think", min_size=1, max_size=20), st.text(alphabet="12 \n", max_size=5))
def test_what_is_put_into_tags_fits_unless_it_holds_them_or_nothing(inside: str, space: str) -> None:
    text = f"<think>{inside}</think> \n <answer>1{space}</answer>"
    holds = "<think>" in inside or "</think>" in inside or not inside.strip()
    assert score(Format(), text) == float(not holds)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Length(-1, 1), "at least 0"),
        (lambda: Length(1, 0), "above 0"),
        (lambda: Length(1, math.nan), "above 0"),
        (lambda: Length(1, 1, "lines"), "words, characters, tokens"),
        (lambda: Repetition(0), "at least 1"),
        (lambda: RegexMatch("("), "no regular expression"),
        (lambda: Format("think"), "list of names"),
        (lambda: Format(["a", "a"]), "each once"),
    ],
)
def test_senseless_settings_are_refused_when_built(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_rewards_have_names_for_logs_and_survive_the_way_to_another_process() -> None:
    for reward in (Length(3, 0.1), Repetition(), RegexMatch("a"), Format()):
        assert reward.__name__ == {"RegexMatch": "regex_match"}.get(
            type(reward).__name__, type(reward).__name__.lower()
        )
        assert pickle.loads(pickle.dumps(reward)) == reward
