"""Win rates as sentences of the card: who judged, what came out, and nothing of what was not measured."""

from __future__ import annotations

from typing import Any

import pytest

from hfrecipes.publish.card import render_card
from hfrecipes.publish.win_rates import win_rate_sentences

FOUND: dict[str, Any] = {
    "dataset": "pairs/test",
    "judge": "reward",
    "kind": "model",
    "value": 0.625,
    "low": 0.5,
    "high": 0.73,
    "n": 60,
    "wins": 35,
    "ties": 5,
    "losses": 20,
    "left_out": 0,
    "words": {"tuned": {"value": 7.25, "low": 6.5, "high": 8.0}, "base": {"value": 6.0, "low": 5.5, "high": 6.5}},
}


def test_a_sentence_says_who_won_by_whom_and_how_long_answers_were() -> None:
    assert win_rate_sentences({"win_rates": [FOUND]}) == [
        "Judged by `reward`, a reward model, on `pairs/test` the trained model wins 35 prompts, ties 5 and loses 20 against the "
        "model it began as: a win rate of 0.625 [0.500, 0.730]; words of an answer: tuned 7.2 [6.5, 8.0], base 6.0 [5.5, 6.5]."
    ]
    assert win_rate_sentences({"win_rates": [FOUND]})[0] in render_card({"name": "x", "win_rates": [FOUND]}, [])


def test_prompts_that_were_left_out_and_a_liking_for_a_place_are_told() -> None:
    (said,) = win_rate_sentences({"win_rates": [{**FOUND, "kind": "compare", "left_out": 3, "first_preferred": 0.75}]})
    assert "a judge asked in both orders" in said and "3 prompts had no answer or no verdict" in said
    assert "the judge prefers what stands first in 0.750" in said


@pytest.mark.parametrize("found", [None, "x", [None], [{}], [{**FOUND, "value": None}], {"value": 1}])
def test_what_was_not_measured_is_not_told(found: Any) -> None:
    assert win_rate_sentences({"win_rates": found}) == []


@pytest.mark.parametrize("words", [None, [1], {"tuned": None}, {"tuned": {"value": "long"}}])
def test_lengths_that_are_damaged_are_left_out(words: Any) -> None:
    (said,) = win_rate_sentences({"win_rates": [{**FOUND, "words": words}]})
    assert "words of an answer" not in said and "0.625" in said
