"""Answers become a ranking and a pair: alike ones once, unreadable ones never, no pair where nothing is better."""

from __future__ import annotations

import pytest

from hfrecipes.data.ranked import rank

TURNS = [{"role": "user", "content": "Hi"}]


def test_answers_stand_best_first_and_once() -> None:
    order = rank("Hi", ["b", "a", "b", "c"], [1.0, 2.0, 1.5, -1.0])
    assert order.row() == {"prompt": "Hi", "responses": ["a", "b", "c"], "scores": [2.0, 1.5, -1.0]}
    pair = order.pair(0.0)
    assert (pair["chosen"], pair["rejected"]) == ("a", "c")
    assert (pair["score_chosen"], pair["score_rejected"]) == (2.0, -1.0)


def test_answers_in_a_conversation_are_messages() -> None:
    pair = rank(TURNS, ["a", "b"], [0.0, 1.0]).pair(0.5)
    assert pair["chosen"] == [{"role": "assistant", "content": "b"}] and pair["prompt"] == TURNS


@pytest.mark.parametrize(("margin", "makes_one"), [(0.0, True), (0.5, True), (0.51, False)])
def test_a_pair_lies_as_far_apart_as_was_asked(margin: float, makes_one: bool) -> None:
    assert (rank("Hi", ["a", "b"], [1.0, 0.5]).pair(margin) is not None) == makes_one


def test_ties_make_no_pair_whatever_the_margin() -> None:
    assert rank("Hi", ["a", "b"], [1.0, 1.0]).pair(0.0) is None
    assert rank("Hi", ["a", "a"], [1.0, 3.0]).pair(0.0) is None


@pytest.mark.parametrize("prompt", ["Hi", TURNS])
def test_answers_that_no_reader_takes_are_left_out(prompt: object) -> None:
    order = rank(prompt, ["", " \n", "a\0b", "good", "bad"], [9.0, 8.0, 7.0, 1.0, 0.0])
    assert order.texts == ("good", "bad")
    assert rank(prompt, ["", "\0"], [1.0, 0.0]) is None
