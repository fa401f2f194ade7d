"""Decoding with heads, in card and report."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from hfrecipes.publish.card import render_card
from hfrecipes.publish.decoding import decoding_sentence, decoding_table
from hfrecipes.publish.figures import DASH
from hfrecipes.publish.report import render_report
from hfrecipes.recipe.rundir import RunDir
from tests.publish.facts import FACTS

FOUND = {
    "prompts": 8,
    "max_new_tokens": 64,
    "identical": 7,
    "tokens_per_pass": 1.8512,
    "times_generate": 1.204,
    "drafted": [100, 60],
    "accepted_by_head": [0.75, None],
    "written_by_place": [0.75, 0.5],
}


def test_the_sentence_gives_pass_speed_and_agreement() -> None:
    said = decoding_sentence({"decoding": FOUND})
    assert "1.85 tokens with each pass" in said and "1.20 times" in said and "7 of 8 held-out prompts" in said


def test_the_table_has_a_row_for_each_head() -> None:
    assert decoding_table({"decoding": FOUND})[1:] == [["2", "100", "75.0%", "75.0%"], ["3", "60", DASH, "50.0%"]]


@pytest.mark.parametrize("found", [None, {}, {**FOUND, "prompts": None}, {**FOUND, "tokens_per_pass": "x"}])
def test_what_is_not_whole_is_left_out(found: dict | None) -> None:
    assert decoding_sentence({"decoding": found}) == "" and decoding_table({"decoding": found}) == []


def test_the_card_has_both_only_where_heads_decoded() -> None:
    facts = {**copy.deepcopy(FACTS), "decoding": FOUND}
    assert "1.85 tokens with each pass" in render_card(facts, []) and "| Token ahead |" in render_card(facts, [])
    assert "Token ahead" not in render_card(copy.deepcopy(FACTS), [])


def test_the_report_shows_it(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**copy.deepcopy(FACTS), "decoding": FOUND}))
    page = render_report([RunDir(tmp_path)])
    assert "Decoding with heads" in page and "Token ahead" in page
