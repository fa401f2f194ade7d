from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.recipe.problem import Problem, RecipeError

RECIPE = """\
kind: sft
model:
  config: {model_type: llama, hidden_size: 64}
  tokenizer: {vocab_size: 512}
data:
  train:
    - {name: python_docstrings, split: train}
    - path: rows.jsonl
      limit: 3
training:
  learning_rate: 1e-4
  packing: true
"""


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe in an otherwise empty folder, which becomes the working directory."""
    monkeypatch.chdir(tmp_path)
    file = Path("mine.yaml")
    file.write_text(RECIPE)
    return file


@pytest.fixture
def load(recipe_file: Path) -> Callable[..., Recipe]:
    return lambda *overrides: load_recipe(recipe_file, overrides)


@pytest.fixture
def refused(load: Callable[..., Recipe]) -> Callable[..., list[Problem]]:
    """The problems of that recipe with overrides, which must have some."""

    def problems(*overrides: str) -> list[Problem]:
        with pytest.raises(RecipeError) as caught:
            load(*overrides)
        return caught.value.problems

    return problems
