"""Reports as people read them: tables that fit, and a page that shows why."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from hfrecipes.data.clean.report_text import print_report, summary, to_markdown


def amount(before: int, after: int) -> dict[str, Any]:
    return {"before": before, "after": after, "kept": after / before if before else None}


def amounts(before: int, after: int, tokens: bool) -> dict[str, Any]:
    counted = ["documents", "characters", "bytes", *(["tokens"] if tokens else [])]
    return {name: amount(before * 10**place, after * 10**place) for place, name in enumerate(counted)}


def report(tokens: bool = True) -> dict[str, Any]:
    example = {"source": "a", "where": "a.jsonl:7", "reason": "min_words", "detail": "words: 3", "text": "x `y`\n | z"}
    rule = {"rule": "gopher_quality", "settings": {}, **amounts(2000, 1500, tokens), "changed": 0, "counts": {}}
    masked = {"rule": "pii", "settings": {}, **amounts(1500, 1500, tokens), "changed": 12, "counts": {"email": 15}}
    reasons = {"min_words": 300, "b": 100, "c": 50, "d": 30, "e": 15, "f": 5}
    return {
        "role": "train",
        **amounts(2000, 1500, tokens),
        "rules": [{**rule, "reasons": reasons, "examples": [example]}, {**masked, "reasons": {}, "examples": []}],
        "sources": [
            {"name": "a|b", **amounts(2000, 1500, tokens), "left_out": {"gopher_quality": 500}},
            {"name": "empty", **amounts(0, 0, tokens), "left_out": {}},
        ],
        "metrics": {"before": {"form": {"both": 0.25}}, "after": {"form": {"both": None}}},
        "warnings": ["something [odd]"],
    }


def shown(width: int, **options: bool) -> str:
    file = io.StringIO()
    print_report(Console(file=file, width=width), report(**options))
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_tables_fit_the_terminal(width: int) -> None:
    lines = shown(width).splitlines()
    assert max(len(line) for line in lines if line[:1] in "┏┃┡│└") <= width
    assert any("gopher_quality" in line for line in lines)  # in one piece
    assert "! something [odd]" in lines


def test_a_wide_terminal_shows_how_much_text_there_is_in_tokens_where_they_are_counted() -> None:
    assert "2,000,000" in shown(160) and "tokens" in shown(160)
    assert "tokens" not in shown(160, tokens=False) and "15,000" in shown(160, tokens=False)


def test_the_page_names_reasons_examples_and_what_was_changed() -> None:
    page = to_markdown(report())
    row = next(line for line in page.splitlines() if line.startswith("| gopher_quality"))
    assert "75.0%" in row and "min_words 300, b 100, c 50, d 30, others 20" in row
    assert "12 documents: email 15" in page
    assert "| a\\|b |" in page and "| empty | 0 | 0 | - |" in page
    assert "- a.jsonl:7: min_words (words: 3)\n\n  `x 'y' | z`\n" in page
    assert "Personal data in these texts is masked" in page and "- something [odd]" in page
    assert "| sentences with a proper beginning and end | 0.250 | - |" in page
    cells = {
        line.count(" | ") for line in page.splitlines() if line.startswith(("| rule", "| gopher", "| pii", "| all"))
    }
    assert cells == {8}


def test_the_summary_says_what_is_left() -> None:
    assert summary(report()) == "1,500 of 2,000 documents are left (75.0%), and 75.0% of the tokens."
