"""Training loss beside held-out loss: the figures by hand, and what cannot be compared left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.publish.figures import DASH
from hfrecipes.publish.overfitting import overfitting_table
from hfrecipes.publish.report import render_report
from hfrecipes.recipe.rundir import RunDir
from tests.publish.facts import FACTS

LOG = [
    {"step": 5, "loss": 4.0},
    {"step": 10, "loss": 3.0},
    {"step": 10, "eval_loss": 3.25},
    {"step": 20, "eval_loss": 2.5},
    {"step": 25, "loss": 2.0},
    {"step": 30, "loss": 1.0},
    {"step": 30, "eval_loss": 2.75},
]


def test_the_lowest_loss_the_rise_since_and_the_distance_from_training() -> None:
    heading, row = overfitting_table(LOG, {"kind": "sft"})
    assert len(heading) == len(row)
    assert row[0] == "eval" and [float(cell) for cell in row[1:]] == [2.5, 20, 2.75, 0.25, 1.5, 1.25]


def test_each_set_has_a_row_and_one_evaluation_is_enough() -> None:
    log = [{"step": 4, "loss": 2.0}, {"step": 5, "eval_new_loss": 3.0, "eval_old_loss": 1.0}]
    rows = overfitting_table(log, {"kind": "pretrain"})[1:]
    assert [(row[0], float(row[4]), float(row[6])) for row in rows] == [("new", 0, 1), ("old", 0, -1)]


@pytest.mark.parametrize("facts", [{"kind": "ppo"}, {"kind": "pretrain", "recipe": {"objective": {"name": "mtp"}}}])
def test_a_training_loss_of_another_kind_is_not_compared(facts: dict) -> None:
    _, row = overfitting_table(LOG, facts)
    assert float(row[4]) == 0.25 and row[5:] == [DASH, DASH]


def test_nothing_logged_in_between_leaves_a_dash_and_no_evaluation_no_table() -> None:
    assert overfitting_table([{"step": 5, "eval_loss": 3.0}], {"kind": "sft"})[1][5:] == [DASH, DASH]
    assert overfitting_table([{"step": 5, "loss": 3.0}], {"kind": "sft"}) == []


def test_the_report_shows_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**FACTS, "kind": "sft"}))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LOG))
    assert "Training and held-out loss" in render_report([RunDir(tmp_path)])
    (tmp_path / "metrics.jsonl").write_text(json.dumps(LOG[0]) + "\n")
    assert "Training and held-out loss" not in render_report([RunDir(tmp_path)])
