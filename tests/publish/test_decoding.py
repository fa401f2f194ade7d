"""Decoding with heads, in card and report."""

from __future__ import annotations

import copy
import json
import re
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


def with_heads(repo_id: str | None = None, metrics: list[dict] | None = None) -> str:
    facts = {**copy.deepcopy(FACTS), "decoding": FOUND}
    facts["recipe"] = {**facts["recipe"], "objective": {"name": "mtp", "num_future_tokens": 3}}
    return render_card(facts, metrics or [], repo_id)


def test_decoding_has_a_section_of_its_own() -> None:
    sections = dict(part.split("\n", 1) for part in with_heads().split("\n## ")[1:])
    assert "1.85 tokens with each pass" in sections["Decoding with its heads"]
    assert [name for name, text in sections.items() if "Token ahead" in text] == ["Decoding with its heads"]


def test_the_card_says_how_to_use_the_heads_of_a_folder_and_of_a_repository() -> None:
    folder, hub = (with_heads(name).split("## How to use")[1].split("\n## ")[0] for name in (None, "someone/heads"))
    assert "mtp_heads.safetensors" in folder and "mtp_generate(model, **inputs" in folder
    assert "load_mtp(model_id)" in folder and "load_mtp(snapshot_download(model_id))" in hub
    for card in (folder, hub):
        code = "\n".join(re.findall(r"```python\n(.*?)```", card, re.DOTALL))
        compile(code, "card", "exec")
        assert code.count("model_id = ") == 1
    assert "load_mtp" not in render_card(copy.deepcopy(FACTS), [])


def test_the_loss_that_is_told_of_is_that_of_head_1_and_the_sum_is_called_one() -> None:
    log = [
        {"step": step, "loss": loss, "loss_head_1": first}
        for step, loss, first in ((1, 4.774, 4.774), (9, 5.42, 3.111))
    ]
    card = with_heads(metrics=log)
    assert "loss of head 1 went from 4.774 (step 1) to 3.111 (step 9)" in card
    assert "sum over the heads that took part by then went from 4.774 (step 1) to 5.42 (step 9)" in card
    assert "| Final loss, all heads |" in card and "| Final loss |" not in card
    plain = render_card(copy.deepcopy(FACTS), [*log[:1], {"step": 9, "loss": 2.5}])
    assert "The logged training loss went from 4.774 (step 1) to 2.5 (step 9)." in plain
    assert "| Final loss |" in plain
