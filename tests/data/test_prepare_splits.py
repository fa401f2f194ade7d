"""`data.splits` from the recipe to the rows that are trained and measured on, and to what is kept in caches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hfrecipes.data.prepare import Prepared, prepare
from hfrecipes.models.recipe_tokenizer import _fingerprint as tokenizer_fingerprint
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

MakeRecipe = Callable[..., Recipe]
SOURCES = "train: [{path: a.jsonl, split: train}], eval: [{path: a.jsonl, split: validation}]"
ROWS = [
    {"text": f"Row {number}", "topic": "abc"[number % 3], "author": f"author {number // 5}"} for number in range(60)
]


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(ROWS)


def write(rows: list[dict[str, str]]) -> None:
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def texts(prepared: Prepared, tokenizer: Tokenizer) -> tuple[list[str], list[str]]:
    """What is trained on, and what is measured on."""
    (measured,) = prepared.eval.values()
    found = [
        [tokenizer.decode(row, skip_special_tokens=True) for row in each["input_ids"]]
        for each in (prepared.train, measured)
    ]
    return found[0], found[1]


@pytest.mark.usefixtures("rows")
def test_rows_trained_and_measured_on_are_those_that_were_dealt(make_recipe: MakeRecipe, tokenizer: Tokenizer) -> None:
    recipe = make_recipe(
        f"{SOURCES}, splits: {{method: stratified, by: topic, shares: {{train: 0.9, validation: 0.1}}}}"
    )
    trained, measured = texts(prepare(recipe, tokenizer, Path("cache")), tokenizer)
    assert sorted(trained + measured) == sorted(row["text"] for row in ROWS)
    assert sorted(int(text.split()[1]) % 3 for text in measured) == [0, 0, 1, 1, 2, 2]
    grouped = make_recipe(f"{SOURCES}, splits: {{group: author, shares: {{train: 0.5, validation: 0.5}}}}")
    trained, measured = texts(prepare(grouped, tokenizer, Path("cache")), tokenizer)
    authors = [{int(text.split()[1]) // 5 for text in side} for side in (trained, measured)]
    assert authors[0].isdisjoint(authors[1]) and len(trained) + len(measured) == 60


@pytest.mark.usefixtures("rows")
def test_each_fold_measures_another_part_and_all_are_measured_once(
    make_recipe: MakeRecipe, tokenizer: Tokenizer
) -> None:
    seen: list[str] = []
    for fold in (1, 2, 3):
        recipe = make_recipe(f"{SOURCES}, splits: {{folds: 3, fold: {fold}}}")
        trained, measured = texts(prepare(recipe, tokenizer, Path("cache")), tokenizer)
        assert set(trained).isdisjoint(measured) and len(trained) == 40
        seen += measured
    assert sorted(seen) == sorted(row["text"] for row in ROWS)


@pytest.mark.usefixtures("rows")
def test_other_splits_are_other_rows_and_another_tokenizer_to_the_caches(
    make_recipe: MakeRecipe, tokenizer: Tokenizer
) -> None:
    words = ["", ", splits: {seed: 1}", ", splits: {folds: 3, fold: 1}", ", splits: {folds: 3, fold: 2}"]
    recipes = [make_recipe(SOURCES + more) for more in words]
    assert len({prepare(recipe, tokenizer, Path("cache")).fingerprint for recipe in recipes}) == len(words)
    assert len({tokenizer_fingerprint(recipe) for recipe in recipes}) == len(words)


@pytest.mark.usefixtures("rows")
def test_more_folds_than_rows_are_refused_whichever_fold_is_in_turn(
    make_recipe: MakeRecipe, tokenizer: Tokenizer
) -> None:
    write(ROWS[:4])
    for fold in range(1, 7):
        recipe = make_recipe(f"{SOURCES}, splits: {{folds: 6, fold: {fold}}}")
        with pytest.raises(
            RecipeError, match=r"2 of 6 folds of a.jsonl have no validation rows, such as fold-\d \(say"
        ):
            prepare(recipe, tokenizer, Path("cache"))


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(
    ("splits", "mend"),
    [
        ("", r"rows fall into train, validation and test \(90, 5 and 5 %\) by a hash: give more of them"),
        (", splits: {group: topic}", "data.splits deals it none: give more rows, other shares, or smaller groups"),
    ],
)
def test_a_split_without_rows_says_why_it_has_none(
    splits: str, mend: str, make_recipe: MakeRecipe, tokenizer: Tokenizer
) -> None:
    write([ROWS[0]])
    with pytest.raises(RecipeError, match=rf"a.jsonl/\w+ has no rows \({mend}"):
        prepare(make_recipe(SOURCES + splits), tokenizer, Path("cache"))


@pytest.mark.usefixtures("rows")
def test_what_a_user_should_know_of_the_splits_is_among_the_warnings(
    make_recipe: MakeRecipe, tokenizer: Tokenizer
) -> None:
    recipe = make_recipe(
        f"{SOURCES}, splits: {{method: stratified, by: text, shares: {{train: 0.9, validation: 0.1}}}}"
    )
    warnings = prepare(recipe, tokenizer, Path("cache")).warnings
    assert any(warning.startswith("a.jsonl: text has 60 different values in 60 rows") for warning in warnings)
