"""What the data went through before it was trained on, as rows of text: cleaning and augmentation."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.figures import DASH, count, dig, is_number, share
from hfrecipes.publish.naming import portable_value
from hfrecipes.publish.tables import Rows

# Places of the columns of figures in a table of cleaning.
CLEANING_FIGURES = (1, 2, 3, 4, 5, 6, 8)
AUGMENTATION_COLUMNS = ["Data set", "Rows", "Method", "Chosen", "Kept", "Share kept", "Thrown away"]

# Reasons that a cell names; run.json has all.
_NAMED = 4


def cleaning_sentence(facts: dict[str, Any]) -> str:
    """How many documents the rules left; empty where none were applied."""
    before, after = dig(facts, "cleaning.documents.before"), dig(facts, "cleaning.documents.after")
    if not (is_number(before) and is_number(after)):
        return ""
    return f"Cleaning left {count(after)} of {count(before)} documents ({_kept(before, after)})."


def cleaning_table(facts: dict[str, Any]) -> Rows:
    """Heading, one row per rule in the order in which they were applied, and a row for them all; empty without rules.

    Text is counted in tokens where the run did so, else in characters.
    """
    cleaning = facts.get("cleaning") or {}
    rules = cleaning.get("rules") or []
    if not rules:
        return []
    unit = "tokens" if is_number(dig(cleaning, "tokens.before")) else "characters"
    counted = ("documents", unit)
    heading = [f"{name.capitalize()} {what}" for name in counted for what in ("in", "out", "kept")]
    return [
        ["Rule", *heading, "Left out for", "Changed"],
        *([str(rule.get("rule") or DASH), *_amounts(rule, counted), *_doings(rule)] for rule in rules),
        ["all of them", *_amounts(cleaning, counted), DASH, DASH],
    ]


def _amounts(counts: dict[str, Any], counted: tuple[str, str]) -> list[str]:
    pairs = [(dig(counts, f"{name}.before"), dig(counts, f"{name}.after")) for name in counted]
    return [cell for before, after in pairs for cell in (count(before), count(after), _kept(before, after))]


def _kept(before: Any, after: Any) -> str:
    return share(after / before) if is_number(before) and is_number(after) and before else DASH


def _doings(rule: dict[str, Any]) -> list[str]:
    return [_listed(rule.get("reasons")), count(rule.get("changed"))]


def augmentation_rows(facts: dict[str, Any]) -> Rows:
    """One row per data set and method, in `AUGMENTATION_COLUMNS`."""
    return [
        [
            portable_value(title),
            count(report.get("rows")),
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
