"""A cross-validation: mean and spread over folds beside each fold's own figure, in a card and a report."""

from __future__ import annotations

import random
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.evaluation.folds import fold_figures
from hfrecipes.publish.card import render_card
from hfrecipes.publish.report import render_report
from hfrecipes.publish.upload import plan_upload
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

from .client import main
from .conftest import write_run
from .facts import BITS, evaluation, make_facts, make_metrics
from .test_card import errors
from .test_preparation import tables
from .test_report import Page

FOLDS = 3
RECIPE = {
    "kind": "sft",
    "data": {"train": [{"path": "/home/ada/a.jsonl", "split": "train"}], "splits": {"folds": FOLDS}},
    "publish": {"license": "mit", "language": ["en"]},
}


def measured(fold: int) -> list[dict[str, Any]]:
    chance = random.Random(fold)
    dataset = {"dataset": "a.jsonl/validation"}
    bits, f1 = 1 + chance.random(), chance.random()
    return [
        evaluation("base", "bits_per_byte", bits + 1, bits + 0.9, bits + 1.1, **dataset, **BITS),
        evaluation("tuned", "bits_per_byte", bits, bits - 0.1, bits + 0.1, **dataset, **BITS),
        evaluation("tuned", "docstring_f1", f1, f1 - 0.1, f1 + 0.1, **dataset),
    ]


@pytest.fixture
def folder(tmp_path: Path) -> RunDir:
    """What `data.splits.folds` leaves, without the models."""
    for fold in range(1, FOLDS + 1):
        recipe = RECIPE | {"data": RECIPE["data"] | {"splits": {"folds": FOLDS, "fold": fold}}}
        facts = make_facts(name=f"fold-{fold}", recipe=recipe, evaluations=measured(fold))
        write_run(tmp_path / "cv" / f"fold-{fold}", facts, make_metrics(shift=fold / 10))
    steps = [{"name": f"fold-{fold}", "kind": "sft", "run": f"fold-{fold}"} for fold in range(1, FOLDS + 1)]
    figures = fold_figures([measured(fold) for fold in range(1, FOLDS + 1)])
    facts = {"name": "cv", "kind": "folds", "status": "complete", "recipe": RECIPE, "steps": steps, "folds": figures}
    return write_run(tmp_path / "cv", facts | {"marks": {}, "finished": "2026-01-02T03:04:05Z"}, [])


def test_the_card_holds_mean_and_spread_and_each_fold(folder: RunDir) -> None:
    (table,) = tables(render_card(folder.facts(), []), "Evaluation")
    columns = ["Data set", "Metric", "Model", "Mean", "Standard deviation", "Fold 1", "Fold 2", "Fold 3"]
    assert table[0] == columns
    assert [(row[1].split()[0], row[2]) for row in table[1:]] == [
        ("bits", "base"),
        ("bits", "tuned"),
        ("docstring", "tuned"),
    ]
    for place, row in enumerate(table[1:]):
        values = [measured(fold)[place]["value"] for fold in range(1, FOLDS + 1)]
        wanted = [statistics.mean(values), statistics.stdev(values), *values]
        assert [float(cell) for cell in row[3:]] == pytest.approx(wanted, abs=6e-4)


def test_the_card_of_a_cross_validation_is_clean(folder: RunDir) -> None:
    facts = folder.facts()
    card = render_card(facts, [])
    assert errors(card, facts) == []
    assert "3-fold cross-validation on `a.jsonl`" in card and "`fold-1`, `fold-2`, `fold-3`" in card
    assert "from_pretrained" not in card and "/home/ada" not in card


def test_the_linter_finds_a_changed_figure_of_any_fold(folder: RunDir) -> None:
    facts = folder.facts()
    card = render_card(facts, [])
    for cell in (cell for row in tables(card, "Evaluation")[0][1:] for cell in row[3:]):
        wrong = card.replace(f"| {cell} |", f"| {float(cell) + 1:.3f} |", 1)
        assert any(f"run.json says {cell}" in message for message in errors(wrong, facts)), cell
    assert any("11-fold" in wrong or "11," in wrong for wrong in errors(card.replace("3-fold", "11-fold"), facts))


def test_a_spread_that_is_small_is_not_shown_as_none() -> None:
    figures = fold_figures([[evaluation("tuned", "f1", value, 0, 1)] for value in (0.5, 0.50001)])
    (_, row) = tables(render_card({"name": "x", "kind": "folds", "folds": figures}, []), "Evaluation")[0]
    assert row[3] == "0.5000" and float(row[4]) == pytest.approx(statistics.stdev([0.5, 0.50001]), abs=1e-6) != 0


def test_the_report_of_the_folder_lays_its_runs_over_one_another(folder: RunDir) -> None:
    page = Page(render_report([folder]))
    assert "cv, fold by fold" in page.text and "Over all folds" in page.text
    text = re.sub(r"\s+", "", page.text)
    for row in tables(render_card(folder.facts(), []), "Evaluation")[0]:
        assert "".join(row).replace(" ", "") in text
    assert "data.splits.fold123" in text
    # Per fold: train and eval loss, bits per byte, learning rate, gradient norm, throughput.
    assert sum(tag == "polyline" for tag, _ in page.tags) == FOLDS * 6


def test_the_verb_reports_a_cross_validation(folder: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(folder.path)]) == 0
    assert "fold by fold" in folder.report.read_text()
    folder.card.write_text(render_card(folder.facts(), []))
    assert main(["card", "lint", str(folder.path)]) == 0


def test_an_unfinished_cross_validation_shows_the_folds_that_are_done(folder: RunDir) -> None:
    facts = {key: value for key, value in folder.facts().items() if key != "folds"} | {"status": "failed"}
    folder.write_facts(facts | {"steps": facts["steps"][:2]})
    page, card = Page(render_report([folder])), render_card(folder.facts(), [])
    assert "fold-2" in page.text and "Over all folds" not in page.text and "fold-3" not in page.text
    assert errors(card, folder.facts()) == [] and "no figures over all folds" in card and "3-fold" in card
    folder.write_facts(facts | {"steps": []})
    assert errors(render_card(folder.facts(), []), folder.facts()) == []
    assert "Over all folds" not in render_report([folder])


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "..", ""])
def test_a_step_that_leads_out_of_the_folder_is_not_read(folder: RunDir, name: str) -> None:
    write_run(folder.path.parent / "elsewhere", make_facts(name="elsewhere"), [])
    folder.write_facts(folder.facts() | {"steps": [{"name": "x", "kind": "sft", "run": name}]})
    assert "elsewhere" not in Page(render_report([folder])).text.replace("../elsewhere", "")


def test_several_runs_in_one_folder_are_not_published_as_one(folder: RunDir) -> None:
    with pytest.raises(RecipeError, match=r"holds 3 runs and no model of its own .*publish .*cv/fold-3"):
        plan_upload(folder)


def test_the_card_of_one_fold_says_which_it_is(folder: RunDir) -> None:
    run = RunDir(folder.path / "fold-2")
    card = render_card(run.facts(), run.metrics())
    assert "without fold 2 of the 3 folds" in card
    assert errors(card, run.facts()) == []
