"""Exact answers: which one is final, and when two are the same."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.rewards import ExactAnswer
from hfrecipes.rewards.answers import final_answer, same_answer


def score(completion, answer, **words):
    return ExactAnswer(**words)(prompts=["p"], completions=[completion], completion_ids=[[1]], answer=[answer])[0]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("He has 3, then 4.\n#### 7", "7"),
        ("#### 7\nQuestion: what is 3?\n#### 3", "7"),
        ("#### Step 1: add\n3 and 4\n#### Step 2: done\nso 7 it is", "7"),
        ("It is the capital of 65 million.\n#### Paris", "Paris"),
        (r"First \boxed{3}, then \boxed{\frac{1}{2}}, which 8 of us know.", r"\frac{1}{2}"),
        (r"\boxed{x_{1} + {2}}", "x_{1} + {2}"),
        (r"\boxed{5} and \boxed{6", "5"),
        ("The answer is $1,234.50.", "1,234.50"),
        ("It goes from 10 to -5", "-5"),
        ("on 1/2/2020 we ate 3/4", "3/4"),
        ("nobody knows", None),
        ("", None),
    ],
)
def test_the_final_answer(text: str, answer: str | None) -> None:
    assert final_answer(text) == answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,000", "1000.0"),
        ("$18", "18 dollars"),
        ("50%", r"50\%"),
        (r"\frac{1}{2}", "0.5"),
        (r"-\dfrac{6}{4}", "-3/2"),
        (r"\text{Paris}", "paris."),
        (r"\left( 1, 2 \right)", "(1,2)"),
        ("x + 1", "x+1"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_answers_that_are_the_same(one: str, other: str) -> None:
    assert same_answer(one, other) and same_answer(other, one)


@pytest.mark.parametrize(
    ("one", "other"), [("2pi", "2"), ("3x", "3"), ("10-5", "10"), ("1/0", "1"), ("(1,2)", "(1,3)"), ("-7", "7")]
)
def test_answers_that_are_not(one: str, other: str) -> None:
    assert not same_answer(one, other) and not same_answer(other, one)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.fractions(min_value=-1000, max_value=1000, max_denominator=64), st.fractions(max_denominator=64))
def test_fractions_are_equal_when_their_values_are(one: Fraction, other: Fraction) -> None:
    sign = "-" if one < 0 else ""
    written = rf"{sign}\frac{{{abs(one.numerator) * 3}}}{{{one.denominator * 3}}}"
    assert same_answer(written, f"{one.numerator}/{one.denominator}")
    assert same_answer(written, str(other)) == (one == other)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(-(10**9), 10**9), st.text(alphabet="abc .,\n$0123456789", max_size=40))
def test_a_number_behind_the_mark_is_right_whatever_stands_before(number: int, before: str) -> None:
    assert score(f"{before}\n#### {number:,}", str(number)) == 1
    assert score(f"{before}\n#### {number + 1}", str(number)) == 0


def test_references_may_be_whole_solutions_texts_or_numbers() -> None:
    assert score("so 7", "3 + 4 = 7\n#### 7") == score("so 7", r"thus \boxed{7}") == score("so 7", 7) == 1
    assert score("Paris", "paris") == score("#### Paris", "Paris") == 1
    assert score("London", "Paris") == score("no idea", "7") == 0


def test_rows_without_a_right_answer_are_not_judged() -> None:
    assert score("7", None) is None


def test_the_answer_can_stand_in_another_column_and_completions_be_messages() -> None:
    said = [{"role": "assistant", "content": "3 + 4"}, {"role": "tool", "content": "9"}]
    reward = ExactAnswer(column="solution")
    assert reward([], [[*said, {"role": "assistant", "content": "It is 7."}]], solution=["7"]) == [1.0]
    with pytest.raises(ValueError, match=r"no column 'solution'.*its columns: answer"):
        reward([], ["7"], answer=["7"])
    with pytest.raises(ValueError, match="empty"):
        score("7", " ")
