"""Win rates in card and report: who judged, how often each side won, and how long the answers were."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.escaping import code_span, inline_text
from hfrecipes.publish.figures import count, dig, is_number, number

_KINDS = {"model": "a reward model", "function": "a rule", "compare": "a judge asked in both orders"}


def win_rate_sentences(facts: dict[str, Any]) -> list[str]:
    """One sentence for each judge; empty where no win rate was measured."""
    found = facts.get("win_rates")
    return [_sentence(entry) for entry in found if is_number(dig(entry, "value"))] if isinstance(found, list) else []


def _sentence(entry: dict[str, Any]) -> str:
    wins, ties, losses, left_out = (count(entry.get(word)) for word in ("wins", "ties", "losses", "left_out"))
    judge = f"{code_span(str(entry.get('judge')))}, {_KINDS.get(str(entry.get('kind')), 'a judge')}"
    parts = [
        f"Judged by {judge}, on {code_span(str(entry.get('dataset')))} the trained model wins {wins} prompts, ties {ties} and "
        f"loses {losses} against the model it began as: a win rate of {_estimate(entry)}"
    ]
    if entry.get("left_out"):
        parts.append(f"{left_out} prompts had no answer or no verdict")
    if is_number(entry.get("first_preferred")):
        parts.append(f"the judge prefers what stands first in {number(entry['first_preferred'], 3)}")
    words = entry.get("words") if isinstance(entry.get("words"), dict) else {}
    lengths = [
        f"{inline_text(model)} {_estimate(found, 1)}"
        for model, found in words.items()
        if is_number(dig(found, "value"))
    ]
    if lengths:
        parts.append(f"words of an answer: {', '.join(lengths)}")
    return "; ".join(parts) + "."


def _estimate(figure: dict[str, Any], digits: int = 3) -> str:
    value, low, high = (figure.get(word) for word in ("value", "low", "high"))
    bounds = f" [{number(low, digits)}, {number(high, digits)}]" if is_number(low) and is_number(high) else ""
    return f"{number(value, digits)}{bounds}"
