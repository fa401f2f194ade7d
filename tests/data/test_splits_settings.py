"""The words under `data.splits`, and the cells that say when."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.data.splits.settings import SplitSettings, share_weights, split_settings
from hfrecipes.data.splits.times import microseconds
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.split_words import Splits


def recipe_with(**splits) -> Recipe:
    return Recipe("sft", "my", Path("my.yaml"), {"data": {"splits": splits}}, {("data", "splits"): 4})


def test_a_recipe_without_the_section_has_no_settings():
    assert split_settings(Recipe("sft", "my", Path("my.yaml"), {"data": {}})) is None


def test_words_that_are_left_out_have_their_defaults():
    assert split_settings(recipe_with(seed=3)) == SplitSettings(
        weights={"train": 18, "validation": 1, "test": 1}, seed=3
    )
    assert split_settings(recipe_with(folds=5, fold=None)).fold == 1


def test_every_word_of_the_schema_is_read():
    read = {field.name for field in fields(SplitSettings)} - {"weights"} | {"shares", "folds"}
    assert {field.name for field in fields(Splits)} == read


def test_a_fold_is_validation_and_the_others_are_training():
    settings = split_settings(recipe_with(folds=3, fold=2))
    assert [settings.split_of_part(part) for part in settings.names] == ["train", "validation", "train"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"shares": {"train": 0.8, "test": 0.1}}, "add up to 0.9, not to 1"),
        ({"shares": {"train": 1.1, "test": -0.1}}, "a share is below 0"),
        ({"shares": {"train": 0.5, "dev": 0.5}}, "there is no split dev"),
        ({"shares": {"train": 0.99999, "test": 0.00001}}, "more than four decimals"),
        ({"folds": 5, "fold": 6}, "there is no fold 6 of 5"),
        ({"fold": 2}, "has no folds beside it"),
        ({"folds": 5, "shares": {"train": 0.8, "test": 0.2}}, "folds and shares contradict"),
        ({"folds": 5, "method": "time", "by": "day"}, "folds of method: time"),
        ({"method": "stratified"}, "needs the column of the label"),
        ({"method": "time"}, "needs the column of the time"),
        ({"by": "label"}, "method: hash reads no column"),
    ],
)
def test_words_that_contradict_each_other_are_refused_with_their_place(words, message):
    with pytest.raises(RecipeError, match=message) as caught:
        split_settings(recipe_with(**words))
    assert all(problem.where == "my.yaml:4" and problem.fix for problem in caught.value.problems)


def test_shares_are_exact_and_in_the_order_of_the_splits():
    assert list(share_weights({"test": 0.1, "train": 0.7, "validation": 0.2}).items()) == [
        ("train", 7),
        ("validation", 2),
        ("test", 1),
    ]
    assert share_weights({"train": 1, "test": 0}) == {"train": 1}


DAY = datetime(2024, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cell", "when"),
    [
        ("2024-03-05", DAY),
        ("20240305", DAY),
        ("2024-03-05T10:30:00Z", DAY + timedelta(hours=10.5)),
        ("2024-03-05 10:30:00", DAY + timedelta(hours=10.5)),
        ("2024-03-05T10:30:00+02:00", DAY + timedelta(hours=8.5)),
        (" 2024-03 ", datetime(2024, 3, 1, tzinfo=UTC)),
        ("2024", datetime(2024, 1, 1, tzinfo=UTC)),
        (1709596800, DAY),
        ("1709596800", DAY),
        (1709596800.25, DAY + timedelta(seconds=0.25)),
        (1709596800_000, DAY),
        (1709596800_000_000, DAY),
        (1709596800_000_000_000, DAY),
        (date(2024, 3, 5), DAY),
        (datetime(2024, 3, 5), DAY),
        (datetime(2024, 3, 5, 8, tzinfo=timezone(timedelta(hours=8))), DAY),
        (-86400, datetime(1969, 12, 31, tzinfo=UTC)),
    ],
)
def test_times_are_read_however_they_are_written(cell, when):
    assert microseconds(cell) == round(when.timestamp() * 1_000_000)


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))
)
def test_iso_times_order_as_their_datetimes_do(first, second):
    assert (microseconds(first.isoformat()) < microseconds(second.isoformat())) == (first < second)


@pytest.mark.parametrize("cell", ["soon", "", "03/05/2024", "2024-13-01", True, float("nan"), float("inf"), [2024], {}])
def test_what_is_no_time_is_refused(cell):
    with pytest.raises(ValueError):
        microseconds(cell)
