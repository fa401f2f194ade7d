"""What goes wrong in a cleaning is told with its place and its mend."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data.clean.engine import clean
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from tests.data.clean.own_rules import RepeatsRule

Cleaning = Callable[..., Recipe]
ALL = [{"rule": "short", "least": 4}, {"rule": "repeats"}, {"rule": "digits"}, {"rule": "repeats"}]


@pytest.fixture(autouse=True)
def rules(own: None) -> None:
    pass


def rows(count: int) -> list[dict[str, Any]]:
    chance = random.Random(0)
    return [{"text": "".join(chance.choices("abc", k=6)) + str(number)} for number in range(count)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_rule_that_fails_names_itself_and_the_row(workers: int, cleaning: Cleaning, tmp_path: Path) -> None:
    some = rows(35)
    some[23] = {"text": "it is poison"}
    with pytest.raises(RecipeError) as caught:
        clean(cleaning([{"rule": "fails"}], first=some), workers=workers, cache=tmp_path / "cache")
    (problem,) = caught.value.problems
    assert problem.where.endswith("first.jsonl:24")
    assert problem.message.startswith("the rule fails fails here: ZeroDivisionError: there is poison (own_rules.py:")


def test_a_rule_about_the_corpus_that_fails_names_itself(
    cleaning: Cleaning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(self: RepeatsRule, sketches: list[Path], decisions: list[Path]) -> None:
        raise KeyError("texts")

    monkeypatch.setattr(RepeatsRule, "resolve", resolve)
    with pytest.raises(RecipeError, match="the whole corpus: error: the rule repeats fails here: KeyError"):
        clean(cleaning(ALL, first=rows(35)), cache=tmp_path / "cache")


def test_a_worker_that_is_killed_is_said_with_the_mend(cleaning: Cleaning, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a worker was killed, most likely for want of memory .*fewer --workers"):
        clean(cleaning([{"rule": "dies"}], first=rows(35)), workers=2, cache=tmp_path / "cache")


def test_a_row_that_cannot_be_used_names_its_place(cleaning: Cleaning, tmp_path: Path) -> None:
    recipe = cleaning(ALL, first=[*rows(15), {"text": ""}])
    with pytest.raises(RecipeError, match=r"first\.jsonl:16: error: text is empty"):
        clean(recipe, cache=tmp_path / "cache")


def test_no_documents_left_is_an_error_with_the_reasons(cleaning: Cleaning, tmp_path: Path) -> None:
    recipe = cleaning([{"rule": "short", "least": 99}], first=rows(35))
    with pytest.raises(RecipeError, match=r"the rules leave none of the 35 documents: short: too_short \(35\)"):
        clean(recipe, cache=tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache" / "cleaned").iterdir()] == [".lock"]


def test_a_source_that_loses_all_is_a_warning(cleaning: Cleaning, tmp_path: Path) -> None:
    recipe = cleaning([{"rule": "short", "least": 9}], first=[{"text": "short"}], second=[{"text": "long " * 9}] * 12)
    report = clean(recipe, cache=tmp_path / "cache").report
    assert report["warnings"] == ["the rules leave nothing of first.jsonl: short"]


def test_a_recipe_without_rules_is_told_what_to_write(cleaning: Cleaning, tmp_path: Path) -> None:
    recipe = cleaning([], first=rows(3))
    recipe.values["data"]["clean"] = None
    with pytest.raises(RecipeError, match=r"data\.clean names no rules .*gopher_quality"):
        clean(recipe, cache=tmp_path)


def test_a_recipe_without_sources_is_told_so(cleaning: Cleaning, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"data\.train names no sources to clean"):
        clean(cleaning(ALL), cache=tmp_path / "cache")
