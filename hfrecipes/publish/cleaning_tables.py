"""What the data went through before it was trained on, as rows of text: cleaning and augmentation."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.figures import DASH, count, dig, is_number, share
from hfrecipes.publish.naming import portable_value
from hfrecipes.publish.tables import Rows

CLEANING_COLUMNS = ["Rule", "Documents in", "Left out", "Why", "Changed"]
AUGMENTATION_COLUMNS = ["Data set", "Method", "Chosen", "Kept", "Share kept", "Thrown away"]

# Reasons that a cell names; run.json has all.
_NAMED = 4


def cleaning_sentence(facts: dict[str, Any]) -> str:
    """What share of the training data the rules left; empty where none were applied."""
    before, after = dig(facts, "cleaning.documents.before"), dig(facts, "cleaning.documents.after")
    if not (is_number(before) and is_number(after)):
        return ""
    measured = "tokens" if is_number(dig(facts, "cleaning.tokens.before")) else "characters"
    left = f"Cleaning left {count(after)} of {count(before)} documents"
    parts = [share(after / before)] if before else []
    text_before, text_after = (dig(facts, f"cleaning.{measured}.{when}") for when in ("before", "after"))
    if is_number(text_before) and is_number(text_after) and text_before:
        parts.append(f"{share(text_after / text_before)} of the {measured}")
    return f"{left} ({'; '.join(parts)})." if parts else f"{left}."


def cleaning_rows(facts: dict[str, Any]) -> Rows:
    """One row per rule, in the order in which they were applied, in `CLEANING_COLUMNS`."""
    return [_rule_row(rule) for rule in dig(facts, "cleaning.rules") or []]


def _rule_row(rule: dict[str, Any]) -> list[str]:
    before, after = dig(rule, "documents.before"), dig(rule, "documents.after")
    return [
        str(rule.get("rule") or DASH),
        count(before),
        _left_out(before, after),
        _listed(rule.get("reasons")),
        count(rule.get("changed")),
    ]


def _left_out(before: Any, after: Any) -> str:
    if not (is_number(before) and is_number(after)):
        return DASH
    missing = before - after
    return f"{count(missing)} ({share(missing / before)})" if missing and before else count(missing)


def augmentation_rows(facts: dict[str, Any]) -> Rows:
    """One row per data set and method, in `AUGMENTATION_COLUMNS`."""
    return [
        [
            portable_value(title),
            method,
            count(counts.get("chosen")),
            count(counts.get("kept")),
            share(counts.get("share_kept")),
            _listed(counts.get("thrown_away")),
        ]
        for title, report in (facts.get("augmentation") or {}).items()
        for method, counts in (report.get("methods") or {}).items()
    ]


def _listed(counts: dict[str, Any] | None) -> str:
    """`too short 12, repeated 3, others 4`: the most frequent first."""
    counted = sorted(((n, name) for name, n in (counts or {}).items() if is_number(n) and n), key=lambda pair: -pair[0])
    named = [f"{name} {count(n)}" for n, name in counted[:_NAMED]]
    rest = sum(n for n, _ in counted[_NAMED:])
    return ", ".join([*named, *([f"others {count(rest)}"] if rest else [])]) or DASH
