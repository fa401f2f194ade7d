"""What became of a policy that was trained on its own answers: curves of score and divergence, and how its answers changed."""

from __future__ import annotations

import re
from typing import Any

from hfrecipes.publish.curves import Log, curve, eval_curves
from hfrecipes.publish.escaping import code_span
from hfrecipes.publish.figures import count, dig, is_number, number
from hfrecipes.publish.svg import Series

_EVALUATED = re.compile(r"eval_(?:(.*)_)?score")
# Titles of charts, and what the log calls the figure.
CHARTS = (
    ("Score of answers", "objective/scores"),
    ("Divergence from the reference, nats an answer", "objective/kl"),
    ("Length of answers, tokens", "completions/length"),
)


def policy_series(names: list[str], logs: list[Log], key: str) -> list[Series]:
    """A figure of rollouts, a line for each run; of scores, those on held-out prompts dashed."""
    series = []
    for index, (name, log) in enumerate(zip(names, logs, strict=True)):
        prefix = f"{name}: " if len(names) > 1 else ""
        series.append(Series(f"{prefix}rollouts", curve(log, key), index))
        held_out = eval_curves(log, _EVALUATED) if key == CHARTS[0][1] else {}
        for place, (dataset, points) in enumerate(held_out.items(), start=1):
            label = f"{prefix}eval {dataset}".rstrip()
            series.append(Series(label, points, index if len(names) > 1 else place, dashed=True))
    return series


def score_sentence(metrics: Log) -> str:
    """First and last logged score and divergence, in one sentence; empty where none was logged."""
    scores, divergences = curve(metrics, CHARTS[0][1]), curve(metrics, CHARTS[1][1])
    if len(scores) < 2:
        return ""
    (first_step, first), (last_step, last) = scores[0], scores[-1]
    moved = f", {number(divergences[-1][1])} nats an answer from where it began" if divergences else ""
    steps = f"(step {count(int(first_step))}) to {number(last)} (step {count(int(last_step))})"
    return f"The mean score of the answers that it learnt from went from {number(first)} {steps}{moved}."


def policy_sentences(facts: dict[str, Any]) -> list[str]:
    """What the score does not say: how long answers are, and how many of them are different."""
    lines = []
    for name, by_model in (facts.get("policy") or {}).items():
        parts = [_answers(model, found) for model, found in by_model.items() if is_number(dig(found, "length.value"))]
        if parts:
            lines.append(f"{code_span(str(name))}: {'; '.join(parts)}.")
    return lines


def _answers(model: str, found: dict[str, Any]) -> str:
    value, low, high = (dig(found, f"length.{word}") for word in ("value", "low", "high"))
    bounds = f" [{low:.1f}, {high:.1f}]" if is_number(low) and is_number(high) else ""
    different = f"{count(found.get('different'))} of {count(found.get('answers'))} are different"
    return f"answers of {model} have {value:.1f}{bounds} tokens, {different}"
