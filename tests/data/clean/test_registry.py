"""From the words of a recipe to rules, and from rules to passes."""

from __future__ import annotations

import importlib
import inspect
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data.clean import registry
from hfrecipes.data.clean.engine import clean
from hfrecipes.data.clean.passes import split_into_passes
from hfrecipes.recipe.cleaning import RULES
from hfrecipes.recipe.loader import Recipe
from tests.data.clean.own_rules import DigitsRule, RepeatsRule, Settings

Cleaning = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def rules(own: None) -> None:
    pass


def rows(count: int) -> list[dict[str, Any]]:
    chance = random.Random(0)
    return [{"text": "".join(chance.choices("abc", k=6)) + str(number)} for number in range(count)]


def test_training_data_is_decontaminated_by_default(cleaning: Cleaning, tmp_path: Path) -> None:
    question = "a train leaves the old station at noon and meets another one after forty two miles in the rain"
    recipe = cleaning([], eval=[{"text": question}], first=[*rows(12), {"text": f"Look: {question}!"}])
    report = clean(recipe, cache=tmp_path / "cache").report
    (rule,) = report["rules"]
    assert rule["rule"] == "decontaminate" and rule["examples"][0]["where"].endswith("first.jsonl:13")
    assert report["documents"]["after"] == 12
    recipe.values["data"]["clean"] = [{"rule": "decontaminate", "enabled": False}]
    assert clean(recipe, cache=tmp_path / "cache").report["documents"]["after"] == 13


def test_decontamination_stands_where_the_recipe_puts_it_and_else_at_the_end(cleaning: Cleaning) -> None:
    def names(said: list[dict[str, Any]], **more: Any) -> Iterator[str]:
        recipe = cleaning(said, first=rows(3), **more)
        return (rule["rule"] for _, rule in registry.rule_settings(recipe, "train"))

    some = [{"text": "measured"}]
    assert list(names([{"rule": "digits"}], eval=some)) == ["digits", "decontaminate"]
    assert list(names([{"rule": "decontaminate"}, {"rule": "digits"}], eval=some)) == ["decontaminate", "digits"]
    assert list(names([{"rule": "digits"}])) == ["digits"]


def test_rules_fall_into_as_few_passes_as_there_are_corpus_rules_and_one() -> None:
    local, corpus = DigitsRule(Settings()), RepeatsRule(Settings())
    passes = split_into_passes([local, local, corpus, corpus, local])
    assert [(one.opening, one.local, one.closing) for one in passes] == [(None, (0, 1), 2), (2, (), 3), (3, (4,), None)]
    assert [one.judging for one in passes] == [(0, 1), (2,), (3, 4)]
    assert [one.judging for one in split_into_passes([])] == [()]


@pytest.mark.parametrize("name", list(RULES))
def test_every_rule_of_a_recipe_has_a_class_that_takes_its_words(name: str) -> None:
    module, _, class_name = registry.CLASSES[name].partition(":")
    cls = getattr(importlib.import_module(module), class_name)
    assert cls.name == name and "settings" in inspect.signature(cls).parameters


def test_files_that_rules_name_are_found_beside_the_recipe(cleaning: Cleaning, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("frobnicate\n")
    some = [{"text": f"We frobnicate and frobnicate, said number {number}."} for number in range(3)]
    rule = {"rule": "harmful", "word_list": "words.txt", "max_words": 1}
    report = clean(cleaning([rule], first=[*some, {"text": "We do not."}]), cache=tmp_path / "cache").report
    assert report["documents"]["after"] == 1
