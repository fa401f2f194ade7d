"""What was read of each source of a mixture: in the card and the report as run.json and metrics.jsonl have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hfrecipes.callbacks.curriculum import CurriculumCallback
from hfrecipes.data.mixture.plan import MixturePlan
from hfrecipes.data.mixture.schedule import MixtureSchedule, SourceSize
from hfrecipes.data.mixture.weights import Weight
from hfrecipes.plan.mixture import mixture_facts
from hfrecipes.publish.card import render_card
from hfrecipes.publish.mixture import mixture_table, share_series
from hfrecipes.publish.reading import facts_of
from hfrecipes.publish.report import render_report
from hfrecipes.recipe.problem import RecipeError

from .conftest import write_run
from .facts import make_facts, make_metrics
from .test_card import errors
from .test_preparation import tables

WEIGHTS = {"web": Weight.of([[0, 0.9], [1, 0.1]]), "a|b": Weight.of([[0, 0.1], [1, 0.9]])}
BATCH = 8
# By name a figure of the card: 20 tokens in each row.
PLAN = MixturePlan(WEIGHTS, {"web": 400, "a|b": 25}, 40 * BATCH, 0, BATCH)
SCHEDULE = MixtureSchedule(PLAN, (SourceSize(400, 8000), SourceSize(25, 500)), WEIGHTS, BATCH)


@pytest.fixture
def facts() -> dict[str, Any]:
    facts = make_facts()
    return facts | {"plan": facts["plan"] | {"mixture": mixture_facts(SCHEDULE)}}


@pytest.fixture
def log() -> list[dict[str, Any]]:
    told = CurriculumCallback(PLAN, np.full(425, 20))
    return [
        {"step": step, "loss": 2.0, "time": float(step), **told.figures((step - 10) * BATCH, step * BATCH)}
        for step in range(10, 41, 10)
    ]


def test_the_card_has_a_row_for_each_source(facts: dict[str, Any]) -> None:
    card = render_card(facts, make_metrics())
    table = next(table for table in tables(card, "Training data") if table[0][0] == "Source")
    assert table[1][0] == "web" and table[1][1:3] == ["89.0%", "11.0%"]
    # 160 rows of 20 tokens of each, from 400 and from 25 rows.
    assert table[1][3:] == ["3.2K", "8K", "0.40", "0"]
    assert table[2][-4:] == ["3.2K", "500", "6.40", "2.7K"]
    assert not errors(card)


def test_the_report_draws_what_was_read_and_dashes_what_was_planned(
    facts: dict[str, Any], log: list[dict[str, Any]], tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", facts, log)
    page = render_report([run])
    assert "Shares of the tokens by source" in page and "web, planned" in page and "<td>a|b</td>" in page
    series = {one.label: one for one in share_series(run.metrics())}
    assert series["web, planned"].dashed and not series["web"].dashed
    assert series["web"].colour == series["web, planned"].colour != series["a|b"].colour
    assert [value for _, value in series["web, planned"].points] == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=1e-3)
    assert [value for _, value in series["web"].points] == pytest.approx([0.8, 0.6, 0.4, 0.2], abs=1.1 / 80)
    both = render_report([run, write_run(tmp_path / "other", facts, log)])
    assert "a|b, planned" in both


def test_a_run_without_a_mixture_says_nothing_of_one(tmp_path: Path) -> None:
    assert mixture_table(make_facts()) == []
    card, page = (
        render_card(make_facts(), []),
        render_report([write_run(tmp_path / "run", make_facts(), make_metrics())]),
    )
    assert "Mixture" not in card and "Mixture" not in page and "Shares of the tokens" not in page


@pytest.mark.parametrize("damage", [{"sources": []}, {"sources": {"web": 3}}, {"shares": {"web": "much"}}])
def test_damaged_facts_are_refused_and_missing_ones_left_out(
    damage: dict, facts: dict[str, Any], tmp_path: Path
) -> None:
    facts["plan"]["mixture"] |= damage
    with pytest.raises(RecipeError, match=r"is damaged: plan\.mixture"):
        facts_of(write_run(tmp_path / "run", facts, []))
    facts["plan"]["mixture"] = {"sources": {"web": {}}}
    assert mixture_table(facts)[1] == ["web", *["—"] * 6]
