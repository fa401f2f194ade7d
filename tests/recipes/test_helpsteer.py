"""Rows of HelpSteer3 become rankings of two answers."""

from __future__ import annotations

import pytest

from hfrecipes.data.formats import to_examples
from hfrecipes.recipe.shipped import shipped_recipes

BESIDE = shipped_recipes()["reward/qwen3-1.7b-helpsteer3"].parent
SPEC = {"format": "helpsteer:ranking", "task": "comparison", "pairs": "all"}


def row(preference: int) -> dict:
    turns = [{"role": "user", "content": "Two and two?"}]
    return {
        "domain": "general",
        "context": turns,
        "response1": "Four.",
        "response2": "Five.",
        "overall_preference": preference,
    }


@pytest.mark.parametrize(("preference", "better"), [(-3, "Four."), (-1, "Four."), (2, "Five.")])
def test_a_negative_preference_is_for_the_first_answer(preference: int, better: str) -> None:
    (example,) = to_examples(row(preference), SPEC, "r", BESIDE)
    assert example["chosen"] == [{"role": "assistant", "content": better}]
    assert example["rejected"][0]["content"] in {"Four.", "Five."} - {better}
    assert example["prompt"] == [{"role": "user", "content": "Two and two?"}]


def test_answers_that_nobody_preferred_make_no_pair() -> None:
    assert to_examples(row(0), SPEC | {"pairs": "together"}, "r", BESIDE)[0]["ranks"] == [0, 0]
