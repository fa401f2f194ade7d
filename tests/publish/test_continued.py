"""Old and new domain in card and report: every figure is the run's, and a card that says another is found."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.publish.card import render_card
from hfrecipes.publish.continued import changes_table, compression_table, domain_series, tokenizer_sentence
from hfrecipes.publish.report import render_report

from .conftest import write_run
from .facts import make_facts, make_metrics
from .test_card import errors


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 20}


CONTINUED = {
    "unit": "bits/byte",
    "changes": [
        {
            "dataset": "zh.txt",
            "domain": "new",
            "before": estimate(4.0),
            "after": estimate(1.5),
            "change": estimate(-2.5),
        },
        {
            "dataset": "en/test",
            "domain": "old",
            "before": estimate(1.0),
            "after": estimate(1.2),
            "change": estimate(0.2),
        },
    ],
    "gain": estimate(2.5),
    "forgetting": estimate(0.2),
}
TOKENIZER = {
    "added": 4000,
    "entries": 54257,
    "compression": [
        {
            "dataset": "zh.txt",
            "domain": "new",
            "before": {"bytes_per_token": 1.25, "tokens_per_character": 2.2},
            "after": {"bytes_per_token": 3.5, "tokens_per_character": 0.786},
        }
    ],
}


@pytest.fixture
def facts() -> dict[str, Any]:
    return make_facts() | {"continued": CONTINUED, "tokenizer": TOKENIZER}


def test_the_table_has_a_row_for_each_set_and_the_sums(facts: dict[str, Any]) -> None:
    assert changes_table(facts)[1:] == [
        ["zh.txt", "new", "4.000", "1.500", "-2.500 [-2.510, -2.490]"],
        ["en/test", "old", "1.000", "1.200", "+0.200 [+0.190, +0.210]"],
        ["gain on the new domain", "new", "—", "—", "+2.500 [+2.490, +2.510]"],
        ["forgetting of the old domain", "old", "—", "—", "+0.200 [+0.190, +0.210]"],
    ]


def test_what_pieces_save_is_told(facts: dict[str, Any]) -> None:
    assert compression_table(facts)[1] == ["zh.txt", "new", "1.250", "3.500", "2.200", "0.786"]
    assert "4,000 pieces" in tokenizer_sentence(facts) and "54,257" in tokenizer_sentence(facts)


def test_card_and_report_hold_it_and_pass_the_linter(facts: dict[str, Any], tmp_path: Path) -> None:
    card = render_card(facts, make_metrics())
    page = render_report([write_run(tmp_path, facts, make_metrics())])
    for text in (card, page):
        assert "Continued pretraining" in text
        assert "-2.500 [-2.510, -2.490]" in text and "4,000 pieces" in text
    assert errors(card, facts) == []


def test_another_figure_in_the_card_is_found(facts: dict[str, Any]) -> None:
    card = render_card(facts, []).replace("+0.200 [+0.190", "+0.020 [+0.190")
    assert any("0.020" in problem for problem in errors(card, facts))


def test_other_runs_have_no_such_section(tmp_path: Path) -> None:
    assert "Continued pretraining" not in render_card(make_facts(), make_metrics())
    assert "Continued pretraining" not in render_report([write_run(tmp_path, make_facts(), make_metrics())])


def test_the_plot_goes_from_the_starting_model_by_what_was_logged_to_the_end(facts: dict[str, Any]) -> None:
    facts["training"] = {"steps": 100}
    facts["data"] = [
        {"role": "train", "name": "zh.txt", "split": None, "supervised_tokens": 7, "bytes": 7},
        {"role": "eval", "name": "zh.txt", "split": None, "supervised_tokens": 500, "bytes": 2000},
        {"role": "eval", "name": "en", "split": "test", "supervised_tokens": 250, "bytes": 1000},
    ]
    log = [
        {"step": 50, "eval_zh.txt_loss": 6.0},
        {"step": 50, "eval_en/test_loss": 3.0},
        {"step": 100, "eval_zh.txt_loss": 5.0},
    ]
    new, old = domain_series(facts, log)
    assert new.label == "new: zh.txt" and [step for step, _ in new.points] == [0, 50, 100]
    assert [value for _, value in new.points] == pytest.approx([4.0, 6.0 / 4 / math.log(2), 1.5])
    assert old.points[1] == (50, pytest.approx(3.0 / 4 / math.log(2)))


@pytest.mark.parametrize("damage", [None, [], "x", {"changes": [None, {"change": {"value": "x"}}]}, {"changes": 3}])
def test_damaged_facts_show_nothing(damage: Any) -> None:
    facts = make_facts() | {"continued": damage, "tokenizer": damage}
    assert changes_table(facts) == [] and compression_table(facts) == [] and tokenizer_sentence(facts) == ""
    assert domain_series(facts, []) == []
