"""Reward models in the card and the report, from the facts of a run."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.evaluation.reward_quality import reward_estimates, reward_quality_facts
from hfrecipes.publish.card import render_card
from hfrecipes.publish.report import render_report
from hfrecipes.publish.rewards import calibration_series, margin_table, reward_sentences
from hfrecipes.recipe.rundir import RunDir
from tests.publish.facts import FACTS

CHOSEN, REJECTED = [2.0, 1.0, 0.5, 3.0, -1.0, 0.2], [0.0, 1.5, 0.1, -1.0, -2.0, 0.3]


@pytest.fixture
def facts() -> dict[str, Any]:
    quality = reward_quality_facts(CHOSEN, REJECTED, [9, 8, 7, 6, 5, 4], [4, 9, 5, 6, 7, 8])
    reward = {"normalisation": {"mean": 0.5, "std": 2.0}, "quality": {"pairs/test": quality}}
    entries = [{"model": "tuned", "dataset": "pairs/test", **entry} for entry in reward_estimates(CHOSEN, REJECTED)]
    found = copy.deepcopy(FACTS) | {"kind": "reward", "reward": reward, "evaluations": entries, "samples": []}
    found["model"] = {**found["model"], "adapter": None}
    return found


def test_the_table_has_a_row_for_each_bin(facts: dict[str, Any]) -> None:
    heading, *rows = margin_table(facts)
    assert heading[0] == "Data set" and sum(int(row[4]) for row in rows) == len(CHOSEN)
    assert len(rows) == len(facts["reward"]["quality"]["pairs/test"]["by_margin"]) > 1
    assert margin_table({"kind": "sft"}) == []


def test_sentences_hold_the_figures_of_the_facts(facts: dict[str, Any]) -> None:
    about_set, spread = reward_sentences(facts)
    correlation = facts["reward"]["quality"]["pairs/test"]["length"]["correlation"]["value"]
    assert f"{correlation:.3f}" in about_set and "expected calibration error" in about_set
    assert "mean 0.5" in spread and "`config.json`" in spread


def test_calibration_is_drawn_with_the_line_of_a_perfect_model(facts: dict[str, Any]) -> None:
    line, points = calibration_series(facts)
    assert line.points[0][0] == line.points[0][1] and line.dashed
    bins = facts["reward"]["quality"]["pairs/test"]["calibration"]["bins"]
    assert points.points == [(part["confidence"], part["accuracy"]["value"]) for part in bins]


def test_the_card_says_what_the_model_is_and_how_to_ask_it(facts: dict[str, Any]) -> None:
    card = render_card(facts, [])
    assert "pipeline_tag: text-classification" in card and "AutoModelForSequenceClassification" in card
    assert "reward model, trained to reward better answers more" in card and "AutoModelForCausalLM" not in card
    assert "| Data set | Answers apart |" in card
    adapter = copy.deepcopy(facts)
    adapter["model"]["adapter"] = {"method": "lora"}
    assert "AutoPeftModelForSequenceClassification" in render_card(adapter, [])
    assert "AutoModelForSequenceClassification" not in render_card(copy.deepcopy(FACTS), [])


def test_the_report_shows_calibration(facts: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(facts))
    (tmp_path / "metrics.jsonl").write_text("")
    page = render_report([RunDir(tmp_path)])
    assert "Calibration: share of pairs" in page and "<h2>Rewards</h2>" in page and "reward model" in page


@pytest.mark.parametrize("damage", [None, 3, {"quality": {"a": None}}, {"quality": {"a": {"by_margin": [{}]}}}])
def test_damaged_facts_leave_the_section_out(damage: Any) -> None:
    facts = {**copy.deepcopy(FACTS), "kind": "reward", "reward": damage}
    assert "How to use" in render_card(facts, [])
    assert calibration_series(facts) == []
