"""Names of the catalogue in a recipe: what the loader puts in their place reaches all that comes after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hfrecipes.data.sources import open_sources
from hfrecipes.recipe.catalogue import load_catalogue
from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.recipe.problem import RecipeError

RECIPE = """\
kind: pretrain
model: {{config: {{model_type: llama}}, tokenizer: {{vocab_size: 400}}}}
data: {{context_length: 32, {data}}}
training: {{max_steps: 1}}
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Recipe]:
    def load(data: str, *overrides: str) -> Recipe:
        (tmp_path / "my.yaml").write_text(RECIPE.format(data=data))
        return load_recipe(tmp_path / "my.yaml", overrides)

    return load


def test_a_name_is_expanded_in_every_role_in_mixtures_and_by_override(load: Callable[..., Recipe]) -> None:
    entry = load_catalogue()["fineweb-edu"]
    wanted = entry.source | {"limit": 5}
    said = "{name: fineweb-edu, limit: 5}"
    recipe = load(f"train: [{said}], eval: [{said}], test: [{said}]")
    assert [recipe.get(f"data.{role}.0") for role in ("train", "eval", "test")] == [wanted] * 3
    assert recipe.get("data.train.0.name") == entry.name and "/" in entry.name
    assert load("train: [{name: python_prose}]", "data.train.0.name=fineweb-edu").get("data.train.0") == entry.source
    mixed = load("mixture: {total_tokens: 1000, sources: {a: {name: fineweb-edu, weight: 2}}}")
    ((_, spec),) = mixed.sources("train")
    assert spec["name"] == entry.name and spec["license"] == entry.license


def test_its_licence_goes_with_the_source_and_the_recipe_s_own_words_win(load: Callable[..., Recipe]) -> None:
    recipe = load("train: [{name: fineweb-edu, split: 'train[:10]', license: mit}, {name: fineweb-edu}]")
    first, second = open_sources(recipe, "train")
    assert (first.split, first.license) == ("train[:10]", "mit")
    assert second.license == load_catalogue()["fineweb-edu"].license


def test_names_that_are_nearly_known_are_all_told_at_their_lines(load: Callable[..., Recipe]) -> None:
    with pytest.raises(RecipeError) as caught:
        load("train: [{name: fineweb_edu}], eval: [{name: python_prosa}]")
    assert [problem.fix.split("?")[0] for problem in caught.value.problems] == [
        "did you mean fineweb-edu",
        "did you mean python_prose",
    ]
    assert all(problem.where.endswith("my.yaml:3") for problem in caught.value.problems)
