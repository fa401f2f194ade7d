"""Win rates: who wins, what a tie is worth, what a judge's liking for a place does, and how far the figure is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from hfrecipes.evaluation.intervals import proportion_interval
from hfrecipes.evaluation.win_rate import (
    compare_by_judge,
    compare_by_score,
    outcomes_by_score,
    win_rate,
    win_rate_entry,
)

NAN = math.nan


def test_the_higher_score_wins_and_scores_within_the_margin_tie() -> None:
    found = outcomes_by_score([2.0, 1.0, 1.0, 1.2, NAN], [1.0, 2.0, 1.0, 1.0, 0.0], margin=0.5)
    assert found.tolist()[:4] == [1.0, 0.0, 0.5, 0.5] and math.isnan(found[4])
    assert outcomes_by_score([1.2], [1.0]).tolist() == [1.0]


def test_two_infinite_scores_of_one_sign_tie() -> None:
    assert outcomes_by_score([math.inf, math.inf], [math.inf, -math.inf]).tolist() == [0.5, 1.0]


def test_a_tie_counts_half_and_prompts_without_an_outcome_do_not_count() -> None:
    found = win_rate([1, 1, 0.5, 0, NAN, NAN])
    assert (found.wins, found.ties, found.losses, found.left_out) == (2, 1, 1, 2)
    assert found.rate.value == pytest.approx(2.5 / 4) and found.rate.n == 4


@pytest.mark.parametrize(("wins", "n"), [(0, 7), (33, 50), (647, 1000), (20, 20)])
def test_the_interval_is_wilsons(wins: int, n: int) -> None:
    found = win_rate([1.0] * wins + [0.0] * (n - wins)).rate
    theirs = stats.binomtest(wins, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


def test_the_interval_holds_the_true_rate_as_often_as_it_says_with_ties_too() -> None:
    draw = np.random.default_rng(0)
    # Wins .4, ties .3: the true rate is .55.
    samples = draw.choice([1.0, 0.5, 0.0], p=[0.4, 0.3, 0.3], size=(2000, 60))
    held = np.mean([found.low <= 0.55 <= found.high for found in (win_rate(row).rate for row in samples)])
    assert 0.94 <= held <= 0.995


def test_models_that_swap_their_names_swap_their_rates() -> None:
    draw = np.random.default_rng(1)
    a, b = draw.normal(0.3, 1, 200), draw.normal(0, 1, 200)
    one, other = win_rate(outcomes_by_score(a, b, 0.2)), win_rate(outcomes_by_score(b, a, 0.2))
    assert one.rate.value == pytest.approx(1 - other.rate.value)
    assert (one.rate.low, one.rate.high) == pytest.approx((1 - other.rate.high, 1 - other.rate.low))
    assert (one.wins, one.ties) == (other.losses, other.ties)


def test_scorers_see_all_answers_in_one_call_beside_their_own_prompts() -> None:
    calls = []

    def score(prompts, answers):
        calls.append(list(zip(prompts, answers, strict=True)))
        return [len(answer) for answer in answers]

    found = compare_by_score(["p", "q", "r"], ["long", "x", None], ["b", "yy", "z"], score)
    assert calls == [[("p", "long"), ("q", "x"), ("p", "b"), ("q", "yy")]]
    assert found.tolist()[:2] == [1.0, 0.0] and math.isnan(found[2])


def test_a_judge_that_always_takes_the_first_answer_ends_in_ties_and_is_found_out() -> None:
    found = compare_by_judge(["p"] * 8, ["a"] * 8, ["b"] * 8, lambda prompts, first, second: [1.0] * len(prompts))
    assert found.outcomes.tolist() == [0.5] * 8
    assert found.first_preferred == 1.0 and found.agreeing.value == 0.0


def test_a_judge_that_looks_at_the_answers_is_believed() -> None:
    def longer(prompts, first, second):
        return [0.5 if len(a) == len(b) else float(len(a) > len(b)) for a, b in zip(first, second, strict=True)]

    found = compare_by_judge(["p"] * 3, ["aa", "a", "a"], ["b", "bb", "b"], longer)
    assert found.outcomes.tolist() == [1.0, 0.0, 0.5]
    assert found.first_preferred == 0.5 and found.agreeing == proportion_interval(3, 3)


def test_one_order_without_a_verdict_leaves_the_prompt_out() -> None:
    verdicts = iter([[1.0, None, 1.0], [0.0, 0.0, 0.5]])
    found = compare_by_judge(["p", "q", "r"], ["a"] * 3, ["b"] * 3, lambda *_: next(verdicts))
    assert found.outcomes[0] == 1.0 and math.isnan(found.outcomes[1]) and found.outcomes[2] == 0.75
    assert found.agreeing.n == 2 and found.agreeing.value == 0.5 and found.first_preferred == pytest.approx(2.5 / 4)


def test_nothing_answered_is_not_sent_to_anyone() -> None:
    def refuse(*_):
        raise AssertionError("asked about nothing")

    assert np.isnan(compare_by_score(["p"], [None], ["b"], refuse)).all()
    assert compare_by_judge(["p"], ["a"], [None], refuse).agreeing is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda: win_rate([NAN]), "no prompt has an outcome"),
        (lambda: win_rate([1.5]), "between 0 and 1"),
        (lambda: outcomes_by_score([1.0], [1.0, 2.0]), "a score for each prompt"),
        (lambda: outcomes_by_score([1.0], [1.0], margin=-1), "zero or above"),
        (lambda: compare_by_score(["p"], ["a"], ["b"], lambda *_: [1.0]), "scores for 2 answers"),
        (lambda: compare_by_judge(["p"], ["a"], ["b"], lambda *_: [2.0]), "between 0"),
        (lambda: compare_by_judge(["p"], ["a"], ["b"], lambda *_: []), "0 verdicts on 1 pairs"),
        (lambda: compare_by_judge(["p"], ["a"], ["b", "c"], lambda *_: [1.0]), "1 prompts, 1 and 2 answers"),
    ],
)
def test_what_does_not_fit_together_is_named(broken, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        broken()


def test_an_entry_is_plain_json() -> None:
    entry = win_rate_entry(win_rate([1, 0, 0.5]), step=7)
    assert json.loads(json.dumps(entry, allow_nan=False)) == entry
    assert (entry["metric"], entry["value"], entry["n"], entry["step"]) == ("win_rate", 0.5, 3, 7)
