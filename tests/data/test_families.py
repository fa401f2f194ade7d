"""Families that are held out are not trained on, and are measured."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.check.data import data_problems, scan_sources
from hfrecipes.data.formats import to_examples
from hfrecipes.data.prepare import prepare
from hfrecipes.data.sources import open_sources
from hfrecipes.data.tasks import task_problems
from hfrecipes.recipe.loader import Recipe, check_words
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

COLUMNS = {"prompt": "q", "completion": "a", "family": "task"}
ROWS = [{"q": f"question {number}", "a": "yes", "task": "abc"[number % 3]} for number in range(12)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def recipe(rows: Path, held_out: list[str], **source: Any) -> Recipe:
    spec = {"path": str(rows), "columns": COLUMNS, **source}
    data = {"train": [spec], "test": [{"path": str(rows), "columns": COLUMNS}], "held_out_families": held_out}
    values = {"kind": "sft", "model": {"name_or_path": "x"}, "data": data, "training": {"max_length": 64}}
    return check_words(values, rows.parent / "x.yaml")


def test_held_out_families_are_tested_and_not_trained_on(rows: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    found = prepare(recipe(rows, ["b"]), tokenizer, tmp_path / "cache")
    assert [(entry["rows"], entry["families"]) for entry in found.facts] == [
        (8, {"a": 4, "c": 4}),
        (12, {"a": 4, "b": 4, "c": 4}),
    ]
    assert "rows.jsonl: rows of held-out families are left out: b (4)" in found.warnings
    assert len(found.train) == 8


def test_other_families_make_other_rows(rows: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    prints = {prepare(recipe(rows, names), tokenizer, tmp_path).fingerprint for names in ([], ["a"], ["b"], ["a", "b"])}
    assert len(prints) == 4


def test_what_is_left_after_a_limit_is_of_the_other_families(rows: Path) -> None:
    (source,) = open_sources(recipe(rows, ["a"], limit=5), "train")
    assert Counter(row.values["task"] for row in source.rows()).total() == 5
    assert "a" not in {row.values["task"] for row in source.rows()}


def test_a_family_that_only_the_test_has_is_no_seen_one_unsaid(
    rows: Path, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    learnt = tmp_path / "learnt.jsonl"
    learnt.write_text("".join(json.dumps(row) + "\n" for row in ROWS if row["task"] != "c"))
    values = {"path": str(learnt)}
    (told,) = [each for each in prepare(recipe(rows, ["b"], **values), tokenizer, tmp_path).warnings if "seen" in each]
    assert told.startswith("figures of seen families hold c, and no row of data.train is tagged so")
    assert not [each for each in prepare(recipe(rows, ["b"]), tokenizer, tmp_path).warnings if "seen" in each]


def test_the_check_finds_a_family_that_no_row_is_of(rows: Path) -> None:
    test = rows.with_name("test.jsonl")
    test.write_text("".join(json.dumps({**row, "q": f"other {row['q']}"}) + "\n" for row in ROWS))
    asked = recipe(rows, ["d"])
    asked.values["data"]["test"][0]["path"] = str(test)
    (found,) = data_problems(asked, scan_sources(asked, ()), ())
    assert "'d' is held out" in found.message
    del asked.values["data"]["test"]
    (found,) = data_problems(asked, scan_sources(asked, ()), ())
    assert "'d' is held out" in found.message


def test_a_family_that_no_row_is_of_is_refused(rows: Path, tmp_path: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(
        RecipeError, match=r"'d' is held out, and no row of data.eval or data.test is of that family .*a, b, c"
    ):
        prepare(recipe(rows, ["d"]), tokenizer, tmp_path)


def test_a_source_whose_one_family_is_held_out_is_refused(rows: Path) -> None:
    columns = {"prompt": "q", "completion": "a"}
    with pytest.raises(RecipeError, match=r"is of the family 'b', which data\.held_out_families holds out"):
        open_sources(recipe(rows, ["b"], family="b", columns=columns), "train")


def test_nothing_left_to_train_on_is_refused(rows: Path) -> None:
    (source,) = open_sources(recipe(rows, ["a", "b", "c"]), "train")
    with pytest.raises(RecipeError, match=r"has no rows .hold out fewer families"):
        list(source.rows())


@pytest.mark.parametrize("cell", [3, ["a"]])
def test_a_family_that_is_no_word_is_refused(rows: Path, cell: Any) -> None:
    rows.write_text(json.dumps({"q": "x", "a": "y", "task": cell}) + "\n")
    (source,) = open_sources(recipe(rows, ["a"]), "train")
    with pytest.raises(RecipeError, match=r"rows.jsonl:1: error: family \(their column 'task'\) is an? "):
        list(source.rows())


def test_families_stand_beside_the_example() -> None:
    spec = {"family": " word  order ", "columns": {"kind": "k"}}
    (example,) = to_examples({"prompt": "p", "completion": "c", "k": "direct"}, spec)
    assert example == {"prompt": "p", "completion": "c", "family": "word order", "kind": "direct"}
    with pytest.raises(RecipeError, match="family is said twice"):
        open_sources(recipe(Path("missing.jsonl"), [], family="a"), "train")


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("clarifcation", "clarification"),
        ("calrification", "clarification"),
        ("Refusal", "refusal"),
        ("refusals", "refusal"),
        ("chain of thought", "chain_of_thought"),
        ("refusal", None),
        ("classification", None),
        ("direct", None),
        ("reversal", None),
    ],
)
def test_a_kind_that_is_nearly_one_that_is_scored_is_refused(tag: str, meant: str | None) -> None:
    row, spec = {"prompt": "q", "completion": "a", "type": tag}, {"columns": {"kind": "type"}}
    if meant is None:
        assert to_examples(row, spec)[0]["kind"] == tag
        return
    with pytest.raises(RecipeError, match=f"rows.jsonl:3.*did you mean {meant}"):
        to_examples(row, spec, "rows.jsonl:3")
    (problem,) = task_problems({"kind": tag}, "mine.yaml:4")
    assert meant in problem.fix
