"""How often one model's answers are preferred to another's, by scores or by a judge. Pure functions, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfrecipes.evaluation.intervals import Estimate, proportion_interval
from hfrecipes.evaluation.prompts import Prompt

WIN, TIE, LOSS = 1.0, 0.5, 0.0
# An answer is None where a model had no room for one (`generate_texts`).
Answers = Sequence[str | None]
Scorer = Callable[[list[Prompt], list[str]], Sequence[float]]
Judge = Callable[[list[Prompt], list[str], list[str]], Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often A was preferred to B, over prompts.

    Args:
        rate: The share of prompts that A wins, a tie counted as half; above .5 A is the better one where `rate.low` is too.
        wins: Prompts that A wins.
        ties: Prompts that neither wins.
        losses: Prompts that B wins.
        left_out: Prompts without an outcome: an answer is missing, or the judge gave no verdict.
    """

    rate: Estimate
    wins: int
    ties: int
    losses: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a judge said who saw each pair of answers twice, in both orders.

    Args:
        outcomes: 1 where A wins, .5 for a tie, 0 where B does, .25 and .75 where one order ends in a tie and the other does not;
            NaN without a verdict in both orders. Float64, shape (prompts,).
        first_preferred: How much the answer that stands first is preferred whichever it is: .5 of a judge without a liking for
            a place. None where nothing was judged.
        agreeing: Share of the prompts on which both orders give the same verdict. None where nothing was judged.
    """

    outcomes: np.ndarray
    first_preferred: float | None
    agreeing: Estimate | None


def outcomes_by_score(scores_a: Sequence[float], scores_b: Sequence[float], margin: float = 0.0) -> np.ndarray:
    """Who wins each prompt by scores that do not depend on the other's answer, such as a reward model's.

    Args:
        scores_a: Score of A's answer to each prompt, higher is better; NaN where there is none.
        scores_b: The same of B.
        margin: Scores that lie no further apart are a tie.

    Returns:
        1 where A wins, .5 for a tie, 0 where B does, NaN where a score is missing; float64, shape (prompts,).

    Raises:
        ValueError: where the numbers of scores differ, or the margin is below zero.
    """
    a, b = np.asarray(scores_a, dtype=np.float64), np.asarray(scores_b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"both models need a score for each prompt, not {a.shape} and {b.shape}")
    if not margin >= 0:
        raise ValueError(f"margin is zero or above, not {margin}")
    outcomes = np.where(a > b, WIN, LOSS)
    outcomes[(a == b) | (np.abs(a - b) <= margin)] = TIE
    outcomes[np.isnan(a) | np.isnan(b)] = np.nan
    return outcomes


def win_rate(outcomes: Sequence[float], level: float = 0.95) -> WinRate:
    """The share of prompts that A wins, with Wilson's interval over prompts.

    Args:
        outcomes: One for each prompt, between 0 (B wins) and 1 (A wins), NaN where there is none; of several answers to a prompt
            their mean, since answers to one prompt are not independent of each other.
        level: Share of the cases in which the interval holds the true rate.

    Raises:
        ValueError: where an outcome lies outside 0 to 1, or no prompt has one.
    """
    found = np.asarray(outcomes, dtype=np.float64)
    known = found[~np.isnan(found)]
    if len(known) == 0:
        raise ValueError("no prompt has an outcome: an answer or a verdict is missing for each")
    if known.min() < LOSS or known.max() > WIN:
        raise ValueError(f"outcomes lie between 0 and 1, not {known.min()} to {known.max()}")
    rate = proportion_interval(float(known.sum()), len(known), level)
    wins, losses = int((known > TIE).sum()), int((known < TIE).sum())
    return WinRate(rate, wins, len(known) - wins - losses, losses, len(found) - len(known))


def compare_by_score(
    prompts: Sequence[Prompt], answers_a: Answers, answers_b: Answers, score: Scorer, margin: float = 0.0
) -> np.ndarray:
    """Scores the answers of both models, and says who wins each prompt.

    Args:
        prompts: What both were asked.
        answers_a: A's answer to each; None where it has none.
        answers_b: B's.
        score: `score(prompts, answers)` gives a number for each answer, higher is better. All answers of both models go into one
            call, so that a score which depends on its batch (through padding, in low precision) does not favour one of them.
        margin: As for `outcomes_by_score`.

    Returns:
        As `outcomes_by_score`; NaN where an answer is missing.

    Raises:
        ValueError: where the numbers of prompts, answers and scores do not fit together.
    """
    rows = _answered(prompts, answers_a, answers_b)
    asked = [prompts[row] for row in rows]
    answers = [str(answers[row]) for answers in (answers_a, answers_b) for row in rows]
    scores = np.full((2, len(prompts)), np.nan)
    if rows:
        found = np.asarray(score(asked * 2, answers), dtype=np.float64)
        if found.shape != (len(answers),):
            raise ValueError(f"the scorer gave {found.shape} scores for {len(answers)} answers")
        scores[:, rows] = found.reshape(2, len(rows))
    return outcomes_by_score(scores[0], scores[1], margin)


def compare_by_judge(prompts: Sequence[Prompt], answers_a: Answers, answers_b: Answers, judge: Judge) -> Verdicts:
    """Asks a judge who sees both answers, once in each order: many judges prefer a place (Zheng et al. 2023, "Judging
    LLM-as-a-Judge with MT-Bench and Chatbot Arena").

    Args:
        prompts: What both models were asked.
        answers_a: A's answer to each; None where it has none.
        answers_b: B's.
        judge: `judge(prompts, first, second)` gives for each how much the first answer is to be preferred: 1, .5 for a tie, 0, or
            anything between; None where its verdict cannot be read.

    Raises:
        ValueError: where the numbers of prompts, answers and verdicts do not fit together, or a verdict lies outside 0 to 1.
    """
    rows = _answered(prompts, answers_a, answers_b)
    outcomes = np.full(len(prompts), np.nan)
    if not rows:
        return Verdicts(outcomes, None, None)
    asked = [prompts[row] for row in rows]
    a, b = ([str(answers[row]) for row in rows] for answers in (answers_a, answers_b))
    a_first, b_first = _verdicts(judge, asked, a, b), _verdicts(judge, asked, b, a)
    outcomes[rows] = (a_first + 1 - b_first) / 2
    judged = ~np.isnan(outcomes[rows])
    if not judged.any():
        return Verdicts(outcomes, None, None)
    a_first, b_first = a_first[judged], b_first[judged]
    agreeing = int((np.sign(a_first - TIE) == np.sign(TIE - b_first)).sum())
    first = float((a_first + b_first).mean() / 2)
    return Verdicts(outcomes, first, proportion_interval(agreeing, int(judged.sum())))


def win_rate_entry(found: WinRate, step: int = 0) -> dict[str, Any]:
    """A win rate as an entry of run.json's `evaluations`, for the caller to add `model` and `dataset` to."""
    rate = found.rate
    figures = {"metric": "win_rate", "value": rate.value, "low": rate.low, "high": rate.high, "n": rate.n}
    return {**figures, "unit": "share", "higher_is_better": True, "step": step}


def _answered(prompts: Sequence[Prompt], answers_a: Answers, answers_b: Answers) -> list[int]:
    """The prompts that both answered."""
    if not len(prompts) == len(answers_a) == len(answers_b):
        counts = f"{len(prompts)} prompts, {len(answers_a)} and {len(answers_b)} answers"
        raise ValueError(f"both models answer the same prompts, not {counts}")
    return [row for row, pair in enumerate(zip(answers_a, answers_b, strict=True)) if None not in pair]


def _verdicts(judge: Judge, prompts: list[Prompt], first: list[str], second: list[str]) -> np.ndarray:
    said = judge(prompts, first, second)
    if not hasattr(said, "__len__") or isinstance(said, str | bytes | Mapping | Set):
        raise ValueError(f"the judge returns {type(said).__name__} instead of a list of verdicts")
    found = np.array([np.nan if each is None else each for each in said], dtype=np.float64)
    if found.shape != (len(prompts),):
        raise ValueError(f"the judge gave {len(found)} verdicts on {len(prompts)} pairs")
    known = found[~np.isnan(found)]
    if len(known) and not (known.min() >= LOSS and known.max() <= WIN):
        raise ValueError(f"a verdict lies between 0 (second) and 1 (first), not {known.min()} to {known.max()}")
    return found
