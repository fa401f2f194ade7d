"""The results of a run that say most, in the order in which card and report show them first."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.evaluations import TUNED, EvaluationRow, evaluation_rows

# What a training is for, most telling first. A preference training can make the better answer likelier by token where it
# already was, and gain nothing.
_TELLING = {
    "reward": ("pair_accuracy",),
    "dpo": ("win_rate", "pair_accuracy"),
    "orpo": ("win_rate", "pair_accuracy"),
    "kto": ("win_rate", "good_preferred"),
}


def headline_rows(facts: dict[str, Any]) -> list[EvaluationRow]:
    """Results of the trained model beside a baseline, or against the base by themselves; those that its training was for first.

    A run that was compared with nothing has the first figure of each data set instead.
    """
    telling = _TELLING.get(str(facts.get("kind")), ())
    measured = [row for row in evaluation_rows(facts) if TUNED in row.by_model]
    rows = [row for row in measured if row.baselines or row.metric in telling]
    rows = rows or list({row.dataset: row for row in reversed(measured)}.values())[::-1]
    return sorted(rows, key=lambda row: telling.index(row.metric) if row.metric in telling else len(telling))


def telling_rows(facts: dict[str, Any], most: int) -> list[EvaluationRow]:
    """A few of them, in different metrics as far as there are any."""
    rows = headline_rows(facts)
    first = {row.metric: row for row in reversed(rows)}
    chosen = [row for row in rows if first[row.metric] is row]
    return (chosen + [row for row in rows if first[row.metric] is not row])[:most]
