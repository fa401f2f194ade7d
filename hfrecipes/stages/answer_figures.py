"""What `run.json` says of answers that a model gave, of their scores, and of the pairs that were made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from hfrecipes.data.ranked import Ranked, is_readable
from hfrecipes.evaluation.intervals import Estimate, bootstrap_interval, proportion_interval
from hfrecipes.evaluation.prompts import show_prompt
from hfrecipes.trainers.ppo.watching import unscored

SAMPLES = 4


def answer_facts(
    records: Sequence[dict[str, Any]], ranked: Sequence[Ranked | None], pairs: Sequence[dict[str, Any] | None]
) -> dict[str, Any]:
    """The `answers` entry of run.json.

    Args:
        records: Of each prompt what was drawn, as `answers.jsonl` has it.
        ranked: The same in order; None for a prompt without an answer.
        pairs: What became of it; None for a prompt that made none.
    """
    answered = [record for record in records if record["answers"]]
    orders = [order for order in ranked if order is not None]
    drawn = sum(len(record["answers"]) for record in answered)
    made = [pair for pair in pairs if pair is not None]
    facts: dict[str, Any] = {
        "prompts": len(records),
        "without_room": len(records) - len(answered),
        "answers": drawn,
        "tokens": sum(sum(record["tokens"]) for record in answered),
        # Answers that say nothing, or hold what no row may.
        "unreadable": sum(not is_readable(text) for each in answered for text in each["answers"]),
        "pairs": len(made),
        # Prompts whose answers were all scored alike; the others without a pair lie too close together.
        "tied": len(answered) - len(orders) + sum(order.spread <= 0 for order in orders),
    }
    facts["too_close"] = len(answered) - facts["tied"] - len(made)
    if not drawn:
        return facts
    different = sum(len(set(record["answers"])) for record in answered)
    cut = drawn - sum(sum(record["ended"]) for record in answered)
    figures: dict[str, Estimate] = {
        "different": proportion_interval(different, drawn),
        "cut": proportion_interval(cut, drawn),
        **_scores(answered),
    }
    if made:
        words = np.array([[_words(pair[side]) for side in ("chosen", "rejected")] for pair in made])
        figures |= {
            "margin": bootstrap_interval([pair["score_chosen"] - pair["score_rejected"] for pair in made]),
            "words_of_chosen": bootstrap_interval(words[:, 0]),
            "words_of_rejected": bootstrap_interval(words[:, 1]),
            "longer_chosen": bootstrap_interval(np.sign(words[:, 0] - words[:, 1]) / 2 + 0.5),
        }
    return {**facts, "figures": {name: asdict(figure) for name, figure in figures.items()}}


def silent_rewards(records: Sequence[dict[str, Any]]) -> list[str]:
    """Warnings of rewards that gave none of the answers a score.

    Args:
        records: Of each prompt what was drawn, as `answers.jsonl` has it.
    """
    given: dict[str, list[float | None]] = {}
    for record in records:
        for name, scores in record["rewards"].items():
            given.setdefault(name, []).extend(scores)
    silent = [(name, len(scores)) for name, scores in given.items() if scores and set(scores) == {None}]
    return [unscored(name, "answers", count) for name, count in silent]


def samples_of(pairs: Sequence[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """The first pairs as samples of a card: the best answer, and the worst beside it."""
    shown = [pair for pair in pairs if pair is not None][:SAMPLES]
    return [
        {
            "model": "best, and below it the worst",
            "prompt": show_prompt(pair["prompt"]),
            "completion": _text(pair["chosen"]),
            "reference": _text(pair["rejected"]),
        }
        for pair in shown
    ]


def _scores(answered: Sequence[dict[str, Any]]) -> dict[str, Estimate]:
    """Means over prompts: of all answers, and of the best and the worst to each."""
    by_prompt = [record["scores"] for record in answered]
    return {
        "score": bootstrap_interval([float(np.mean(scores)) for scores in by_prompt]),
        "best_score": bootstrap_interval([max(scores) for scores in by_prompt]),
        "worst_score": bootstrap_interval([min(scores) for scores in by_prompt]),
    }


def _text(response: Any) -> str:
    return response if isinstance(response, str) else response[0]["content"]


def _words(response: Any) -> int:
    return len(_text(response).split())
