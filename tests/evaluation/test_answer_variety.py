"""Whether answers are different, counted by hand."""

from __future__ import annotations

import pytest

from hfrecipes.evaluation.answer_variety import shares_of_own_ngrams


def test_runs_of_tokens_that_no_other_answer_has_are_counted() -> None:
    answers = ["abcd", "abce", "xyz", "xy"]
    # abc is in two, bcd and bce in one each; xyz is one trigram, and so is the short xy by itself.
    assert shares_of_own_ngrams(answers, 3).tolist() == [0.5, 0.5, 1.0, 1.0]


def test_one_answer_everywhere_has_none_of_its_own() -> None:
    assert shares_of_own_ngrams([[1, 2, 3]] * 4, 2).tolist() == [0.0] * 4
    assert shares_of_own_ngrams([[1, 2], []], 8).tolist() == [1.0, 1.0]


def test_a_run_that_an_answer_repeats_is_still_its_own() -> None:
    assert shares_of_own_ngrams([[1, 1, 1, 1], [2, 3]], 2).tolist() == [1.0, 1.0]


def test_no_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="no answers"):
        shares_of_own_ngrams([], 8)
