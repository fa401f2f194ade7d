"""What would end a cleaning, an augmentation or a fold after hours is told by the check, with its place and its mend."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hfrecipes.check.check import check_recipe
from hfrecipes.cli.main import main
from hfrecipes.data.clean.linear_classifier import train_linear_classifier
from hfrecipes.recipe.loader import load_recipe
from hfrecipes.recipe.problem import Problem
from tests.check.conftest import CPU

RECIPE = """\
kind: sft
model: {{config: {{model_type: llama}}, tokenizer: {{vocab_size: 400}}}}
data:
  {data}
training: {{max_steps: 1}}
"""
ROWS = [
    {"text": f"The ship number {number} left the harbour.", "url": f"https://e{number}.org"} for number in range(12)
]
Checker = Callable[[str], list[Problem]]


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checker:
    """The problems of a recipe whose `data` this is, its lines from the fourth on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    write("a.jsonl", ROWS)

    def check(data: str) -> list[Problem]:
        Path("my.yaml").write_text(RECIPE.format(data=data.replace("\n", "\n  ")))
        return check_recipe(load_recipe("my.yaml"), CPU)

    return check


def write(name: str, rows: list[dict[str, object]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_columns_that_a_rule_reads_are_looked_for_in_every_row(found: Checker) -> None:
    write("a.jsonl", [*ROWS, {"text": "x"}, {"text": "y"}])
    rule = "clean: [{rule: domains, block: [e1.org]}]"
    (problem,) = found(f"train: [{{path: a.jsonl}}]\n{rule}")
    assert (problem.where, problem.severity) == ("a.jsonl:13", "error")
    assert problem.message == (
        "there is no column 'url', which data.clean reads; the columns are text: 2 of 14 rows, a.jsonl:13, a.jsonl:14"
    )
    write("b.jsonl", [{"text": "measured on, and not cleaned"}])
    write("a.jsonl", ROWS)
    assert found(f"train: [{{path: a.jsonl}}]\neval: [{{path: b.jsonl}}]\n{rule}") == []
    (embedded,) = found(f"train: [{{name: python_prose}}]\n{rule}")
    assert (embedded.where, embedded.message) == (
        "my.yaml:5",
        "data.clean reads the column 'url', and python_prose has text",
    )


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("{rule: perplexity, name_or_path: ./nowhere, max_perplexity: 5}", "there is no folder ./nowhere"),
        ("{rule: classifier, name_or_path: ./empty}", "empty holds no model: it has no config.json"),
        ("{rule: classifier, name_or_path: too/many/parts}", "there is no folder too/many/parts"),
        ("{rule: classifier, name_or_path: trained, label: best}", "trained has no label 'best'"),
        ("{rule: topics, name_or_path: trained, shares: {poems: 0.5}}", "trained has no topic 'poems'"),
        ("{rule: gopher_repetition, max_duplicate_ngrams: {5: 3}}", "max_duplicate_ngrams.5 is 3, which is no share"),
        ("{rule: domains, block: [10.0.0.0/8]}", "'10.0.0.0/8' is a network"),
    ],
)
def test_what_a_rule_names_is_looked_at_before_anything_is_cleaned(rule: str, told: str, found: Checker) -> None:
    Path("empty").mkdir()
    train_linear_classifier({label: [f"{label} {n}" for n in range(10)] for label in ("bad", "good")}, Path("trained"))
    (problem,) = found(f"train: [{{path: a.jsonl}}]\nclean:\n  - {rule}")
    assert problem.where.startswith("my.yaml:6") and problem.message.startswith(told) and problem.fix


def test_a_damaged_classifier_is_told_by_its_file(found: Checker) -> None:
    folder = Path("trained")
    train_linear_classifier({label: [f"{label} {n}" for n in range(10)] for label in ("bad", "good")}, folder)
    data = "train: [{path: a.jsonl}]\nclean: [{rule: classifier, name_or_path: trained}]"
    (folder / "linear_classifier.safetensors").write_bytes(b"half")
    (problem,) = found(data)
    assert problem.where == "trained/linear_classifier.json" and problem.fix == "train it again"


def test_a_model_of_the_hub_that_cannot_be_asked_for_is_unchecked(found: Checker) -> None:
    data = "train: [{path: a.jsonl}]\nclean: [{rule: perplexity, name_or_path: owner/model, max_perplexity: 9}]"
    (problem,) = found(data)
    assert problem.severity == "unchecked" and "the model owner/model is on the Hub" in problem.message


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("{method: noise, min_similarity: 0.9, max_similarity: 0.2}", "noise: min_similarity 0.9 is above max_similarity"),
        ("{method: back_translation, max_length_ratio: 0.1, forward: {name_or_path: a/b}, backward: {name_or_path: a/b}}",
         "back_translation: min_length_ratio 0.5 is above max_length_ratio 0.1"),
        ("{method: back_translation, forward: {name_or_path: ./no}, backward: {name_or_path: ./no}}", "there is no folder"),
        ("{method: back_translation}", "no model is named"),
    ],
)  # fmt: skip
def test_what_a_method_of_augmentation_needs_is_looked_at_too(method: str, told: str, found: Checker) -> None:
    problems = found(f"train: [{{path: a.jsonl}}]\naugment:\n  - {method}")
    assert problems and all(problem.where == "my.yaml:6" for problem in problems)
    assert problems[0].message.startswith(told)


def test_folds_that_nothing_measures_are_refused(found: Checker) -> None:
    write("b.jsonl", [{"text": "another"}])
    for data in ("", "\neval: [{path: b.jsonl}]"):
        (problem,) = found(f"train: [{{path: a.jsonl, split: train}}]{data}\nsplits: {{folds: 3}}")
        assert problem.message == "no fold is measured: no source says split: validation" and problem.fix
    assert (
        found("train: [{path: a.jsonl, split: train}]\neval: [{path: a.jsonl, split: validation}]\nsplits: {folds: 3}")
        == []
    )


def test_a_fold_that_is_empty_is_refused_before_the_first_is_trained(found: Checker) -> None:
    write("a.jsonl", ROWS[:3])
    data = "train: [{path: a.jsonl, split: train}]\neval: [{path: a.jsonl, split: validation}]\nsplits: {folds: 8}"
    errors = [problem for problem in found(data) if problem.severity == "error"]
    assert [problem.message.split(",")[0] for problem in errors] == ["5 of 8 folds of a.jsonl have no validation rows"]


def test_a_column_that_splits_read_has_to_be_in_an_embedded_source_too(found: Checker) -> None:
    (problem,) = found("train: [{name: python_docstrings, split: train}]\nsplits: {group: module}")
    assert (
        problem.message
        == "data.splits.group reads the column 'module', and python_docstrings has prompt and completion"
    )
    assert found("train: [{name: python_docstrings, split: train}]\nsplits: {group: file}") == []


def test_what_is_worth_knowing_of_the_rows_that_are_taken_is_a_warning(found: Checker) -> None:
    Path("folder").mkdir()
    Path("folder/scan.pdf").write_text("x")
    Path("a.jsonl").rename("folder/a.jsonl")
    (problem,) = found("train: [{path: folder}]")
    assert problem.severity == "warning" and "files are left out: scan.pdf" in problem.message


def test_a_fault_in_the_words_of_a_source_is_told_once_and_not_by_row(found: Checker) -> None:
    (problem,) = found("train: [{path: a.jsonl, task: instruction, templates: [{prompt: '{{ x', completion: y}]}]")
    assert problem.where == "my.yaml:4" and "is no Jinja" in problem.message and "rows" not in problem.message


def test_nesting_without_end_is_a_malformed_line_like_any_other(found: Checker) -> None:
    Path("a.jsonl").write_text('{"text": "x"}\n' + "[" * 100_000 + "\n[1]\n")
    (problem,) = found("train: [{path: a.jsonl}]")
    assert problem.where == "a.jsonl:2" and problem.fix.startswith("as are a.jsonl:3; ")


def test_a_model_that_an_earlier_step_makes_is_not_looked_for(found: Checker) -> None:
    found("train: [{path: a.jsonl}]\nclean: [{rule: perplexity, name_or_path: set-by-the-pipeline, max_perplexity: 9}]")
    Path("my.yaml").rename("cleaned.yaml")
    found("train: [{path: a.jsonl}]")
    steps = [
        {"name": "base", "recipe": "my.yaml"},
        {"name": "next", "recipe": "cleaned.yaml", "with": {"data.clean.0.name_or_path": "${steps.base.model}"}},
    ]
    Path("all.yaml").write_text(json.dumps({"kind": "pipeline", "steps": steps}))
    assert not [one for one in check_recipe(load_recipe("all.yaml"), CPU) if "no folder" in one.message]


@pytest.mark.parametrize("verb", ["clean", "preview"])
def test_verbs_that_clean_ask_the_same_before_they_read(
    verb: str, found: Checker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFRECIPES_CACHE", "cache")
    found("train: [{path: a.jsonl}]\nclean: [{rule: perplexity, name_or_path: ./nowhere, max_perplexity: 9}]")
    assert main(["data", verb, "my.yaml"]) == 2
    assert "my.yaml:5: error: there is no folder ./nowhere" in capsys.readouterr().err
    assert not Path("cache").exists()
