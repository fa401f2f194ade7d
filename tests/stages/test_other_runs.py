"""Figures of other runs stand beside a run's own where both measured the same rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes import RunDir, RunOptions, load_recipe, run
from hfrecipes.check.check import check_recipe
from hfrecipes.publish.lint import lint_card
from hfrecipes.recipe.hardware import detect_hardware
from tests.stages.conftest import write_recipes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipes(tmp_path_factory.mktemp("others"))


def trained(folder: Path, name: str, *overrides: str) -> RunDir:
    recipe = load_recipe(
        folder / "base.yaml", [f"name={name}", "training.max_steps=2", "training.save_strategy=no", *overrides]
    )
    return RunDir(run(recipe, options=RunOptions(runs_dir=folder / "runs", quiet=True)))


def test_the_same_rows_are_compared_and_others_are_not(finished: Path, folder: Path) -> None:
    same, other = finished / "base", trained(folder, "other", "data.eval.0.limit=5")
    made = trained(folder, "third", f"evaluation.compare_runs=[{same}, {other.path}]")
    facts = made.facts()
    shown = {(entry["model"], entry["metric"]): entry["value"] for entry in facts["evaluations"]}
    theirs = {entry["metric"]: entry["value"] for entry in RunDir(same).facts()["evaluations"]}
    assert {name: shown["base", name] for name in theirs} == theirs
    assert {model for model, _ in shown} == {"base", "tuned"}
    assert any(f"{other.path} has no figure to compare" in warning for warning in facts["warnings"])
    card = made.card.read_text()
    assert "| base | tuned |" in card
    assert not [str(problem) for problem in lint_card(card, facts) if problem.severity == "error"]


def test_of_other_tokens_only_bits_per_byte_are_compared(finished: Path, folder: Path) -> None:
    words = ("model.tokenizer.vocab_size=400", f"evaluation.compare_runs=[{finished / 'base'}]")
    found = {
        entry["metric"]
        for entry in trained(folder, "fourth", *words).facts()["evaluations"]
        if entry["model"] == "base"
    }
    assert found == {"bits_per_byte"}


def test_runs_that_are_not_there_are_told_before(finished: Path, folder: Path) -> None:
    broken = folder / "runs" / "broken"
    broken.mkdir(parents=True)
    (broken / "run.json").write_text("{")
    overrides = [f"evaluation.compare_runs=[runs/none, {broken}]"]
    problems = [
        str(problem) for problem in check_recipe(load_recipe(folder / "base.yaml", overrides), detect_hardware())
    ]
    assert any("there is no folder runs/none" in problem for problem in problems)
    assert any("run.json" in problem and "error" in problem for problem in problems)


def test_a_run_that_is_named_twice_and_one_without_a_name_are_told(finished: Path, folder: Path) -> None:
    words = [
        f"evaluation.compare_runs={{one: [{finished / 'base'}, {finished}/./base], two: [{finished / 'base'}, '']}}"
    ]
    recipe = load_recipe(folder / "base.yaml", words)
    told = "\n".join(str(problem) for problem in check_recipe(recipe, detect_hardware()))
    assert told.count("is named twice") == 1 and told.count("an empty name is given") == 1
