"""A run on families of tasks: what was held out is not learnt from, and stands apart in facts, card and report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes import RunDir, RunOptions, load_recipe, run
from hfrecipes.publish.lint import lint_card
from hfrecipes.recipe.problem import RecipeError

RECIPE = """
kind: sft
model: {name_or_path: BASE}
data:
  train: [{path: train.jsonl, columns: {family: family, kind: kind}}]
  test:
    - {path: test.jsonl, columns: {family: family, kind: kind}}
    - {path: more.jsonl, family: naming}
  held_out_families: [sorting]
training: {learning_rate: 1.0e-3, global_batch_size: 4, max_steps: 2, logging_steps: 1, max_length: 64}
evaluation: {task: {metric: answer_match, num_rows: 12, num_shots: 1, max_new_tokens: 4}, samples: 1}
"""
FAMILIES = ("adding", "sorting", "naming")


def row(number: int) -> dict[str, str | None]:
    refused = number % 4 == 3
    return {
        "prompt": f"Question {number}:",
        "completion": " I cannot say." if refused else f" {number}",
        "family": FAMILIES[number % 3],
        "kind": "refusal" if refused else None,
    }


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("instructions")
    (folder / "tuned.yaml").write_text(RECIPE.replace("BASE", str(finished / "base" / "model")))
    for name, numbers in (("train", range(24)), ("test", range(100, 112)), ("more", range(200, 204))):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row(number)) + "\n" for number in numbers))
    return folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict:
    return RunDir(
        run(load_recipe(folder / "tuned.yaml"), options=RunOptions(runs_dir=folder / "runs", quiet=True))
    ).facts()


def test_rows_that_are_held_out_are_not_trained_on(facts: dict) -> None:
    train, test, more = facts["data"]
    assert (train["rows"], train["families"]) == (16, {"adding": 8, "naming": 8})
    assert (test["families"], more["families"]) == ({"adding": 4, "naming": 4, "sorting": 4}, {"naming": 4})
    assert any("rows of held-out families are left out: sorting (8)" in warning for warning in facts["warnings"])


def test_every_source_is_asked_and_each_model_in_the_same_way(facts: dict) -> None:
    found = {(entry["dataset"], entry["metric"], entry["model"]): entry["n"] for entry in facts["evaluations"]}
    for model in ("base", "base, 1 examples", "tuned"):
        assert found["test.jsonl", "answer_match", model] == 9
        assert found["test.jsonl", "answer_match_unseen_families", model] == 3
        assert found["test.jsonl", "answer_match_seen_families", model] == 6
        assert found["test.jsonl", "refused", model] == 3
        assert found["test.jsonl", "wrongly_refused", model] == 9
        # Its kinds are not declared, so nothing is told of refusals.
        assert found["more.jsonl", "answer_match", model] == 4


def test_groups_stand_in_facts_card_and_report(facts: dict, folder: Path) -> None:
    groups = {(entry["dataset"], entry["group"], entry["trained_on"]) for entry in facts["task_groups"]}
    assert groups == {
        ("test.jsonl", "adding", True),
        ("test.jsonl", "naming", True),
        ("test.jsonl", "sorting", False),
        ("more.jsonl", "naming", True),
    }
    assert next(entry["model"] for entry in facts["task_groups"]).startswith("base")
    made = RunDir(folder / "runs" / "tuned")
    assert "### By family and kind" in made.card.read_text()
    assert "By family and kind" in made.report.read_text()
    assert not [str(problem) for problem in lint_card(made.card.read_text(), facts) if problem.severity == "error"]


def test_references_that_do_not_read_as_refusals_are_told(folder: Path) -> None:
    rows = [row(number) | {"completion": " Nope."} for number in range(100, 112)]
    (folder / "nope.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    overrides = ["data.test.0.path=nope.jsonl", "name=nope", "training.max_steps=1"]
    facts = RunDir(
        run(load_recipe(folder / "tuned.yaml", overrides), options=RunOptions(runs_dir=folder / "runs", quiet=True))
    ).facts()
    assert any("3 of 3 references of kind refusal are not recognised" in warning for warning in facts["warnings"])


def test_a_slip_in_a_family_is_refused_before_the_training(folder: Path) -> None:
    recipe = load_recipe(folder / "tuned.yaml", ["data.held_out_families=[sort]", "name=slip"])
    with pytest.raises(RecipeError, match=r"'sort' is held out, and no row of .*did you mean sorting"):
        run(recipe, options=RunOptions(runs_dir=folder / "runs", quiet=True))
