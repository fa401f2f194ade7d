"""What the models scored on each family of tasks, and on each kind of rows: a table for card and report."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.evaluations import EvaluationRow, evaluation_models, evaluation_rows
from hfrecipes.publish.figures import DASH
from hfrecipes.publish.tables import Rows

_COLUMNS = {"family": "Family", "kind": "Kind"}
# Columns before those of the models.
_NAMES = 4


def groups_table(facts: dict[str, Any]) -> Rows:
    """Heading and a row for each group and metric, families that were not trained on first; empty where no row has one."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in facts.get("task_groups") or []:
        if {"by", "group"} <= entry.keys():
            found.setdefault((str(entry["by"]), str(entry["group"])), []).append(entry)
    order = sorted(
        found, key=lambda key: (list(_COLUMNS).index(key[0]), found[key][0].get("trained_on") is not False, key)
    )
    models = evaluation_models(facts)
    rows = [
        [row.dataset, *_name(by, group, found[by, group][0]), row.title, *map(row.cell, models), row.n]
        for by, group in order
        for row in _rows(found[by, group])
    ]
    return [["Data set", "Rows", "Trained on", "Metric", *models, "n"], *rows] if rows else []


def groups_figures(table: Rows) -> tuple[int, ...]:
    """Places of the columns of figures."""
    return tuple(range(_NAMES, len(table[0]))) if table else ()


def _rows(entries: list[dict[str, Any]]) -> list[EvaluationRow]:
    return evaluation_rows({"evaluations": entries})


def _name(by: str, group: str, entry: dict[str, Any]) -> list[str]:
    trained = entry.get("trained_on")
    return [f"{_COLUMNS[by].lower()} {group}", DASH if trained is None else "yes" if trained else "no"]
