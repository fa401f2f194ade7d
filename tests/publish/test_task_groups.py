"""Card and report show families and kinds of tasks, those that were not trained on first."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.card import render_card
from hfrecipes.publish.task_groups import groups_figures, groups_table

from .facts import make_facts


def entry(model: str, by: str, group: str, value: float, **more: Any) -> dict[str, Any]:
    figures = {
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "n": 40,
        "unit": "share",
        "higher_is_better": True,
    }
    return {
        "model": model,
        "dataset": "tasks/test",
        "by": by,
        "group": group,
        "metric": "answer_match",
        **figures,
        **more,
    }


GROUPS = [
    entry("tuned", "family", "adding", 0.75, trained_on=True),
    entry("tuned", "family", "sorting", 0.25, trained_on=False),
    entry("base", "family", "sorting", 0.125, trained_on=False),
    entry("tuned", "kind", "direct", 0.5),
]


def evaluated() -> list[dict[str, Any]]:
    return [entry(model, "", "", 0.5, step=1) for model in ("base", "tuned")]


def test_families_that_were_held_out_stand_first_then_the_others_then_kinds() -> None:
    table = groups_table(make_facts(evaluations=evaluated(), task_groups=GROUPS))
    assert table[0] == ["Data set", "Rows", "Trained on", "Metric", "base", "tuned", "n"]
    assert [row[1:3] for row in table[1:]] == [["family sorting", "no"], ["family adding", "yes"], ["kind direct", "—"]]
    assert table[1][4:6] == ["0.1250 [0.0250, 0.2250]", "0.2500 [0.1500, 0.3500]"] and table[2][4] == "—"
    assert groups_figures(table) == (4, 5, 6)


def test_the_card_shows_them_where_there_are_some() -> None:
    card = render_card(make_facts(evaluations=evaluated(), task_groups=GROUPS), [])
    assert "### By family and kind" in card and "family sorting" in card
    assert "By family and kind" not in render_card(make_facts(), [])
    assert groups_table(make_facts()) == [] and groups_figures([]) == ()
