"""What became of the data before training: in the card and the report as run.json has it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.publish.card import render_card
from hfrecipes.publish.cleaning_tables import cleaning_table
from hfrecipes.publish.lint import lint_card
from hfrecipes.publish.markdown import body_lines, split_header
from hfrecipes.publish.report import render_report

from .conftest import write_run
from .facts import make_facts, make_metrics
from .test_card import errors, header_of
from .test_report import Page


@pytest.fixture
def facts(preparation: dict[str, Any]) -> dict[str, Any]:
    return make_facts() | preparation


def tables(card: str, section: str) -> list[list[list[str]]]:
    """Cells of every table of a section, the rulers left out."""
    found, last = [], -1
    for line in body_lines(card, split_header(card)[1]):
        if line.section == section and line.text.startswith("|") and not re.match(r"\|[ :|-]+$", line.text):
            if line.number - last > 2:
                found.append([])
            last = line.number
            found[-1].append([cell.strip() for cell in line.text.strip("|").split("|")])
    return found


def test_the_card_says_what_each_rule_left(facts: dict[str, Any]) -> None:
    rules, _ = tables(render_card(facts, []), "Data preparation")
    by_rule = {row[0]: dict(zip(rules[0], row, strict=True)) for row in rules[1:]}
    assert list(by_rule) == ["dedup_exact", "pii", "decontaminate", "all of them"]
    # 40 answers, 8 of them again, 5 with mail addresses, 20 questions.
    first = by_rule["dedup_exact"]
    assert [first[f"Documents {what}"] for what in ("in", "out", "kept")] == ["73", "65", "89.0%"]
    assert first["Left out for"] == "duplicate 8" and first["Changed"] == "0"
    assert by_rule["pii"]["Changed"] == "5" and by_rule["pii"]["Documents kept"] == "100%"
    assert [by_rule["all of them"][f"Documents {what}"] for what in ("in", "out")] == ["73", "65"]
    for rule in facts["cleaning"]["rules"]:
        row, tokens = by_rule[rule["rule"]], rule["tokens"]
        assert [row["Tokens in"], row["Tokens out"]] == [f"{tokens['before']:,}", f"{tokens['after']:,}"]
        assert float(row["Tokens kept"].rstrip("%")) == pytest.approx(100 * tokens["kept"], abs=0.051)
    assert by_rule["pii"]["Tokens in"] == first["Tokens out"] != first["Tokens in"]


def test_text_is_counted_in_characters_where_the_run_counted_no_tokens(facts: dict[str, Any]) -> None:
    cleaning = {key: value for key, value in facts["cleaning"].items() if key != "tokens"}
    heading, *_, whole = cleaning_table({"cleaning": cleaning})
    assert heading[4:7] == ["Characters in", "Characters out", "Characters kept"]
    assert whole[4] == f"{facts['cleaning']['characters']['before']:,}"


def test_the_card_says_how_many_copies_were_kept(facts: dict[str, Any]) -> None:
    _, copies = tables(render_card(facts, []), "Data preparation")
    assert copies[0] == ["Data set", "Rows", "Method", "Chosen", "Kept", "Share kept", "Thrown away"]
    # What cleaning left is what augmentation was given.
    assert [row[:3] for row in copies[1:]] == [["answers.jsonl", "45", "noise"], ["questions.jsonl", "20", "noise"]]
    for row in copies[1:]:
        method = facts["augmentation"][row[0]]["methods"]["noise"]
        assert [row[3], row[4]] == [str(method["chosen"]), str(method["kept"])]
        assert float(row[5].rstrip("%")) == pytest.approx(100 * method["kept"] / method["made"], abs=0.051)
        assert method["kept"] > 0


def test_the_card_says_how_much_of_each_kind_carries_loss(facts: dict[str, Any]) -> None:
    _, kinds = tables(render_card(facts, []), "Training data")
    rows = [row for row in kinds[1:] if row[0] == "answers.jsonl"]
    assert {row[1] for row in rows} == {"refusal", "chain_of_thought", "not tagged"}
    entry = facts["data"][0]
    for column, name in enumerate(("rows", "tokens", "supervised_tokens"), start=2):
        assert sum(int(row[column].replace(",", "")) for row in rows) == entry[name]
    for row in rows:
        wanted = 100 * int(row[4].replace(",", "")) / entry["supervised_tokens"]
        assert float(row[5].rstrip("%")) == pytest.approx(wanted, abs=0.051)
        if row[1] != "not tagged":
            counts = entry["kinds"][row[1]]
            assert [row[2], row[4]] == [f"{counts['rows']:,}", f"{counts['supervised_tokens']:,}"]
    assert [row[1:2] + row[5:] for row in kinds[1:] if row[0] == "questions.jsonl"] == [["clarification", "100%"]]


def test_the_card_names_the_licence_of_all_that_was_trained_on(facts: dict[str, Any]) -> None:
    facts["data"] = [*facts["data"], {"role": "train", "name": "mine.jsonl", "rows": 1, "license": None}]
    card = render_card(facts, [])
    section = card.split("## License\n")[1].split("\n## ")[0]
    assert "- `cc-by-4.0`: `answers.jsonl`\n- `mit`: `questions.jsonl`\n- not stated: `mine.jsonl`\n" in section
    # What is only measured on does not bind the weights.
    assert "test.jsonl" not in section
    assert header_of(card)["license"] == "apache-2.0"
    unlicensed = render_card(facts | {"recipe": {}}, [])
    assert "states no licence for the weights" in unlicensed and "`mit`: `questions.jsonl`" in unlicensed


def test_every_figure_of_the_preparation_is_held_against_run_json(facts: dict[str, Any]) -> None:
    card = render_card(facts, make_metrics())
    assert errors(card, facts) == []
    lines = card.splitlines()
    first, last = (
        next(i for i, line in enumerate(lines) if line == f"## {title}") for title in ("Training data", "Evaluation")
    )
    tried = 0
    for number in range(first, last):
        for match in re.finditer(r"(?<=\| )[\d,.]*\d(?=%? \|)|(?<=left )\d+|(?<=duplicate )\d+", lines[number]):
            wrong = (
                lines[number][: match.end() - 1] + str((int(match.group()[-1]) + 5) % 10) + lines[number][match.end() :]
            )
            found = lint_card("\n".join([*lines[:number], wrong, *lines[number + 1 :]]), facts)
            faults = [problem for problem in found if problem.severity == "error"]
            assert [fault.where for fault in faults] == [f"README.md:{number + 1}"], wrong
            assert f"but run.json says {match.group()}" in faults[0].message
            tried += 1
    assert tried > 80


def test_a_line_in_other_words_is_left_to_its_author(facts: dict[str, Any]) -> None:
    card = render_card(facts, [])
    kept = re.search(r"Cleaning left .*", card).group()
    assert errors(card.replace(kept, "We cleaned 12 times, with 3 cups of tea."), facts) == []


def test_a_run_that_prepared_nothing_says_nothing_of_it() -> None:
    card = render_card(make_facts(), [])
    assert "## Data preparation" not in card and "tagged" not in card


def test_the_report_shows_the_same_tables(facts: dict[str, Any], tmp_path: Path) -> None:
    page = Page(render_report([write_run(tmp_path / "r", facts, [])]))
    card = render_card(facts, [])
    cells = [
        row for section in ("Data preparation", "Training data") for table in tables(card, section) for row in table
    ]
    text = re.sub(r"\s+", "", page.text)
    for row in cells:
        assert re.sub(r"\s+", "", "".join(row)) in text, row
    assert "bob3@corp.org" not in page.text + card
