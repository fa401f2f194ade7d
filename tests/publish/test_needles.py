"""Needles in the card and the report, from the facts of a run."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hfrecipes.publish.card import render_card
from hfrecipes.publish.needles import needle_maps, needle_rows
from hfrecipes.publish.report import render_report
from hfrecipes.recipe.rundir import RunDir
from tests.publish.facts import FACTS


def cell(language: str, depth: float, length: int, found: int) -> dict:
    figures = {"found": found, "n": 4, "log_probability": -1.5}
    return {"language": language, "depth": depth, "length": length, **figures}


CELLS = [
    cell("en", 0.0, 256, 4),
    cell("en", 1.0, 256, 3),
    cell("en", 0.0, 1024, 0),
    cell("en", 1.0, 1024, 2),
    cell("zh", 0.5, 256, 1),
]


def test_a_row_for_each_language_and_depth() -> None:
    assert needle_rows({"needles": CELLS}) == [
        ["Language", "Depth", "256 tokens", "1,024 tokens"],
        ["en", "0", "4 of 4", "0 of 4"],
        ["en", "1", "3 of 4", "2 of 4"],
        ["zh", "0.5", "1 of 4", "—"],
    ]


def test_the_darker_a_cell_the_more_was_found() -> None:
    (language, svg), _ = needle_maps({"needles": CELLS})
    assert language == "en"
    cells = ElementTree.fromstring(svg).findall("rect")
    by_found = {re.match(r"\d", rect.find("title").text)[0]: float(rect.get("opacity")) for rect in cells}
    assert [found for found, _ in sorted(by_found.items(), key=lambda item: item[1])] == ["0", "2", "3", "4"]
    assert "log-probability -1.5" in cells[0].find("title").text


def test_headings_are_numbers_alone_so_that_they_fit_beside_each_other_on_a_telephone() -> None:
    (_, svg), _ = needle_maps({"needles": [*CELLS, cell("en", 0.0, 131072, 1)]})
    texts = ElementTree.fromstring(svg).findall("text")
    assert [text.text for text in texts if text.get("y") == "16"] == ["depth", "256", "1,024", "131,072"]


@pytest.mark.parametrize(
    "needles",
    [
        None,
        [],
        [{"language": "en"}],
        [{**CELLS[0], "n": 0}],
        [{**CELLS[0], "found": "many"}],
        [{**CELLS[0], "depth": None}],
    ],
)
def test_what_is_not_whole_is_left_out(needles: list | None) -> None:
    assert needle_rows({"needles": needles}) == []
    assert needle_maps({"needles": needles}) == []


def test_a_name_is_no_markup() -> None:
    ((_, svg),) = needle_maps({"needles": [{**CELLS[0], "language": '<script>"'}]})
    assert "<script" not in svg
    ElementTree.fromstring(svg)


def test_card_and_report_show_them(tmp_path: Path) -> None:
    facts = {**copy.deepcopy(FACTS), "needles": CELLS}
    assert re.search(r"\| *en *\| *0 *\| *4 of 4 *\| *0 of 4 *\|", render_card(facts, []))
    (tmp_path / "run.json").write_text(json.dumps(facts))
    page = render_report([RunDir(tmp_path)])
    assert "Needles found, en" in page
    assert page.count('aria-label="needles found (zh)') == 1


def test_without_needles_neither_speaks_of_them(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(FACTS))
    assert "eedles" not in render_card(copy.deepcopy(FACTS), []) + render_report([RunDir(tmp_path)])
