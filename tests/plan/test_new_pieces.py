"""Pieces that a recipe adds to a tokenizer: in the plan before they are made, in the preview, and in a smoke run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from hfrecipes.models.recipe_tokenizer import tokenizer_location
from hfrecipes.plan.counts import estimate_counts
from hfrecipes.plan.model import planned_config
from hfrecipes.plan.new_pieces import print_new_pieces
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.resolve import resolve
from hfrecipes.recipe.smoke import PIECES, shrink
from tests.stages.test_continued import write_all, write_recipe

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv("HFRECIPES_CACHE", str(tmp_path / "cache"))
    write_all(tmp_path)
    return resolve(write_recipe(tmp_path, "{extend: 120}"), CPU)


def test_a_plan_counts_the_rows_to_come_and_says_whose_tokens_it_counts(recipe: Recipe) -> None:
    before = estimate_counts(recipe)
    assert any("before pieces are added" in problem.message for problem in before.problems)
    base = planned_config(recipe.replace(model={**recipe.get("model"), "tokenizer": None}), before.vocab_size)
    assert planned_config(recipe, before.vocab_size).vocab_size == -(-before.vocab_size // 64) * 64 > base.vocab_size
    assert not Path(tokenizer_location(recipe)).exists(), "a plan makes nothing"


def test_the_preview_makes_them_and_shows_what_they_save(recipe: Recipe) -> None:
    before = estimate_counts(recipe)
    console = Console(width=200, record=True, file=io.StringIO())
    print_new_pieces(console, recipe)
    shown = console.export_text()
    assert "learning 120 pieces" in shown
    line = next(line for line in shown.splitlines() if line.strip().startswith("new_eval.jsonl"))
    saved, cost = [tuple(map(float, pair.split(" → "))) for pair in line.split("new ", 1)[1].split("  ") if "→" in pair]
    assert saved[1] > 1.5 * saved[0] and cost[1] < cost[0] / 1.5
    after = estimate_counts(recipe)
    assert after.problems == () and after.vocab_size == before.vocab_size and after.tokens < 0.8 * before.tokens


def test_a_smoke_run_of_a_small_model_adds_a_few(recipe: Recipe) -> None:
    small = shrink(recipe)
    assert small.get("model.tokenizer") == {"extend": PIECES}
    assert small.get("data.mixture.sources.zh.domain") == "new" and small.get("data.eval.0.domain") == "new"
