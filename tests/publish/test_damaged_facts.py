"""Facts, logs and cards that somebody has changed: refused by name, or read as far as they go; never a traceback."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.evaluation.folds import fold_figures
from hfrecipes.publish.card import render_card
from hfrecipes.publish.lint import lint_card
from hfrecipes.publish.reading import facts_of
from hfrecipes.publish.report import render_report
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir

from .client import main
from .conftest import write_run
from .facts import evaluation, make_facts, make_metrics

WRONG = [5, -1e308, 10**400, "", "x\ud800\x1b[31m\n```\n<b>", [5], [None], {"a": 5}, [{"a": [1]}]]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path to every value in nested dicts and lists."""
    yield path
    for key, entry in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(entry, (*path, key))


def changed(whole: dict[str, Any], path: tuple, value: Any) -> dict[str, Any]:
    facts = copy.deepcopy(whole)
    place = facts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return facts


def publishable(run: RunDir) -> bool:
    """Whether card and report can be made of the run; a RecipeError says that they cannot."""
    try:
        facts = facts_of(run)
        card = render_card(facts, run.metrics())
        lint_card(card, facts)
        render_report([run, run]).encode()
        card.encode()
    except RecipeError as error:
        assert "run.json" in str(error)
        return False
    return True


def a_run(preparation: dict[str, Any]) -> dict[str, Any]:
    session = {"started": "2026-01-02T03:04:05Z", "first_step": 0}
    facts = make_facts(sessions=[session], recipe__adapter={"method": "lora"}) | preparation
    facts["model"] |= {"adapter": {"r": 8}, "quantization": {"bits": 4}}
    # Nothing of these is shown; to try all of their figures would take long.
    unseen = ("metrics", "sources", "characters", "bytes")
    facts["cleaning"] = {key: value for key, value in facts["cleaning"].items() if key not in unseen}
    facts["cleaning"]["rules"] = facts["cleaning"]["rules"][:1]
    # One of each sort is enough.
    facts |= {key: facts[key][:1] for key in ("data", "evaluations", "samples")} | {"versions": {"torch": "2.13.0"}}
    facts["augmentation"] = {"answers.jsonl": facts["augmentation"]["answers.jsonl"]}
    return facts


def a_cross_validation() -> dict[str, Any]:
    figures = fold_figures([[evaluation("tuned", "f1", value, 0, 1)] for value in (0.5, 0.6)])
    recipe = {"data": {"train": [{"path": "a.jsonl"}], "splits": {"folds": 2}}, "publish": {"license": "mit"}}
    facts = {"name": "cv", "kind": "folds", "status": "complete", "recipe": recipe, "folds": figures}
    return facts | {"steps": [{"name": "fold-1", "kind": "sft", "run": "fold-1"}]}


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_no_value_at_any_place_ends_in_a_traceback(tmp_path: Path, preparation: dict[str, Any], wrong: Any) -> None:
    write_run(tmp_path / "r" / "fold-1", make_facts(), [])
    for whole in (a_run(preparation), a_cross_validation()):
        run = write_run(tmp_path / "r", whole, [])
        assert publishable(run)
        for path in list(places(whole))[1:]:
            run.facts_file.write_text(json.dumps(changed(whole, path, wrong)))
            try:
                publishable(run)
            except Exception as error:
                raise AssertionError(f"{path} = {wrong!r}") from error


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("command",), [5]),
        (("command",), [None]),
        (("recipe", "publish", "language"), 5),
        (("sessions",), 5),
        (("sessions",), ["x"]),
        (("data", 0, "rows"), "many"),
        (("cleaning", "rules"), [5]),
        (("augmentation", "answers.jsonl"), "x"),
    ],
)
def test_what_a_run_does_not_write_is_refused_by_its_place(
    tmp_path: Path, preparation: dict[str, Any], path: tuple, wrong: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = a_run(preparation)
    run = write_run(tmp_path / "r", whole, [])
    run.card.write_text(render_card(whole, []))
    run.facts_file.write_text(json.dumps(changed(whole, path, wrong)))
    for verb in (["publish", "--repo", "a/b", "--dry-run"], ["report"], ["card", "lint"]):
        assert main([*verb, str(run.path)]) == 2
        said = capsys.readouterr().err
        assert f"{run.facts_file}: error: is damaged: {path[0]}" in said and "Traceback" not in said


def test_a_figure_of_thousands_of_digits_is_no_figure(tmp_path: Path) -> None:
    long = "9" * 4000
    run = write_run(tmp_path / "r", make_facts(), make_metrics(4))
    run.facts_file.write_text(json.dumps(make_facts(training__tokens=12345)).replace("12345", long))
    line = '{"step": 5, "epoch": 1, "time": 1, "loss": 12345}\n'
    run.metrics_file.write_text(run.metrics_file.read_text() + line.replace("12345", long))
    assert publishable(run)
    assert long not in render_report([run]) + render_card(facts_of(run), run.metrics())


def test_a_card_that_is_no_text_is_named(run: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    run.card.write_bytes(b"\xff\xfe")
    for verb in (["publish", str(run.path), "--repo", "a/b", "--dry-run"], ["card", "lint", str(run.path)]):
        assert main(verb) == 2
        assert f"{run.card}: error: is not UTF-8 text" in capsys.readouterr().err
