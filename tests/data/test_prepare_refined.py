"""Cleaning and augmentation on the way from a recipe to rows: what is left is trained on, and run.json says what was not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data import refine as refine_module
from hfrecipes.data import templates as templates_module
from hfrecipes.data.prepare import Prepared, prepare
from hfrecipes.recipe.loader import Recipe
from hfrecipes.tokenization.tokenizer import Tokenizer

MakeRecipe = Callable[..., Recipe]
SHIP = "The ship of number {} left the old harbour early, and the big crew was happy."
CLEAN = "clean: [{rule: dedup_exact}, {rule: pii}]"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, rows: Iterable[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def texts(prepared: Prepared, tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.decode(row, skip_special_tokens=True) for row in prepared.train["input_ids"]]


def test_rows_that_are_left_are_trained_on_each_with_its_copies(make_recipe: MakeRecipe, tokenizer: Tokenizer) -> None:
    written = [SHIP.format(number) for number in range(20)]
    write("a.jsonl", [{"text": text} for text in [*written, SHIP.format(3), "Write to ann@corp.org about it today."]])
    sources, augment = "train: [{path: a.jsonl}]", "augment: [{method: noise, share: 1.0}]"
    recipe = make_recipe(f"{sources}, {CLEAN}, {augment}")
    prepared = prepare(recipe, tokenizer, Path("cache"))
    trained = texts(prepared, tokenizer)
    kept = [*written, "Write to <EMAIL> about it today."]
    assert [text for text in trained if text in kept] == kept
    cleaning, augmentation = prepared.refinement["cleaning"], prepared.refinement["augmentation"]["a.jsonl"]
    assert (cleaning["documents"]["before"], cleaning["documents"]["after"]) == (22, 21)
    assert cleaning["rules"][0]["rule"] == "dedup_exact" and sum(cleaning["rules"][0]["reasons"].values()) == 1
    assert "ann@corp.org" not in json.dumps(prepared.refinement)
    noise = augmentation["methods"]["noise"]
    copies = len(trained) - len(kept)
    assert augmentation["rows"] == 21 and noise["kept"] == copies > 10 and "examples" not in noise
    (fact,) = prepared.facts
    assert fact["documents"] == fact["rows"] == len(trained)
    # A copy stands behind its row.
    places = [index for index, text in enumerate(trained) if text in kept]
    assert all(after - before <= 2 for before, after in pairwise(places))
    assert texts(prepare(make_recipe(f"{sources}, {CLEAN}"), tokenizer, Path("cache")), tokenizer) == kept


def test_what_was_cleaned_and_augmented_is_found_again(
    make_recipe: MakeRecipe, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jsonl", [{"text": SHIP.format(number)} for number in range(20)])
    recipe = make_recipe(f"train: [{{path: a.jsonl}}], {CLEAN}, augment: [{{method: noise, share: 0.5}}]")
    first = prepare(recipe, tokenizer, Path("cache"))
    monkeypatch.setattr(refine_module, "clean", None)
    monkeypatch.setattr(refine_module, "augment", None)
    second = prepare(recipe, tokenizer, Path("cache"))
    assert second.train[:] == first.train[:] and second.refinement == first.refinement
    assert second.warnings == first.warnings


@pytest.mark.parametrize(
    "words",
    [
        "clean: [{rule: dedup_exact}]",
        "clean: []",
        f"{CLEAN}, augment: [{{method: noise, share: 0.5}}]",
        f"{CLEAN}, augment: [{{method: noise, share: 0.5}}], augment_seed: 1",
        f"{CLEAN}, augment: [{{method: noise, share: 0.6}}]",
    ],
)
def test_other_words_are_other_rows(words: str, make_recipe: MakeRecipe, tokenizer: Tokenizer) -> None:
    write("a.jsonl", [{"text": SHIP.format(number)} for number in range(20)])
    fingerprints = {
        prepare(make_recipe(f"train: [{{path: a.jsonl}}], {each}"), tokenizer, Path("cache")).fingerprint
        for each in (words, CLEAN)
    }
    assert len(fingerprints) == 2


def test_each_fold_is_cleaned_by_itself(make_recipe: MakeRecipe, tokenizer: Tokenizer) -> None:
    write("a.jsonl", [{"text": SHIP.format(number)} for number in range(30)])
    sources = "train: [{path: a.jsonl, split: train}], eval: [{path: a.jsonl, split: validation}]"
    trained = []
    for fold in (1, 2, 3):
        recipe = make_recipe(f"{sources}, splits: {{folds: 3, fold: {fold}}}, clean: [{{rule: pii}}]")
        trained.append(set(texts(prepare(recipe, tokenizer, Path("cache")), tokenizer)))
    assert [len(each) for each in trained] == [20, 20, 20] and not set.intersection(*trained)


def test_what_is_trained_and_measured_on_is_told_where_nothing_is_cleaned(
    make_recipe: MakeRecipe, tokenizer: Tokenizer
) -> None:
    words = [" ".join(f"word{number * 31 + place}" for place in range(20)) for number in range(20)]
    write("a.jsonl", [{"text": text} for text in words])
    write("eval.jsonl", [{"text": f"It is told: {words[7]}"}])
    write("test.jsonl", [{"text": words[11]}])
    sources = "train: [{path: a.jsonl}], eval: [{path: eval.jsonl}], test: [{path: test.jsonl}]"
    prepared = prepare(make_recipe(sources), tokenizer, Path("cache"))
    (warning,) = [each for each in prepared.warnings if "evaluation row" in each]
    assert (
        warning.startswith("a.jsonl: 2 documents")
        and "a.jsonl:8 (eval.jsonl" in warning
        and "a.jsonl:12 (test" in warning
    )
    assert len(prepared.train) == 20
    cleaned = prepare(make_recipe(f"{sources}, clean: []"), tokenizer, Path("cache"))
    assert len(cleaned.train) == 18 and not [each for each in cleaned.warnings if "evaluation row" in each]


def test_a_shipped_template_that_changes_prepares_anew(
    make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.jsonl", [{"text": SHIP.format(number), "label": number % 2} for number in range(4)])
    task = "path: a.jsonl, task: classification, labels: [a, b], templates: classification_en"
    recipes = [make_recipe(f"train: [{{{task}}}]{clean}") for clean in ("", ", clean: [{rule: pii}]")]
    before = [prepare(recipe, tokenizer, Path("cache")) for recipe in recipes]
    changed = templates_module._SHIPPED.read_text(encoding="utf-8").replace("{{ text }}", "{{ text }}!")
    (tmp_path / "sets.yaml").write_text(changed, encoding="utf-8")
    monkeypatch.setattr(templates_module, "_SHIPPED", tmp_path / "sets.yaml")
    for cached in (templates_module.shipped_templates, templates_module._judged):
        cached.cache_clear()
    try:
        after = [prepare(recipe, tokenizer, Path("cache")) for recipe in recipes]
    finally:
        monkeypatch.undo()
        for cached in (templates_module.shipped_templates, templates_module._judged):
            cached.cache_clear()
    for old, new in zip(before, after, strict=True):
        assert new.fingerprint != old.fingerprint
        assert not any("!" in text for text in texts(old, tokenizer))
        assert all("!" in text for text in texts(new, tokenizer))


def test_rows_of_each_kind_are_counted_for_run_json_and_for_the_plan(
    make_recipe: MakeRecipe, tokenizer: Tokenizer
) -> None:
    from hfrecipes.plan.kinds import supervised_by_kind
    from hfrecipes.plan.sample import sample_sources

    rows = [{"prompt": "q", "completion": "a" * 5, "tag": [" refusal ", None, "two\nlines"][n % 3]} for n in range(9)]
    write("a.jsonl", rows)
    recipe = make_recipe("train: [{path: a.jsonl, columns: {kind: tag, prompt: prompt}}]")
    (fact,) = prepare(recipe, tokenizer, Path("cache")).facts
    each = fact["supervised_tokens"] // 9
    counts = {"rows": 3, "tokens": fact["tokens"] // 3, "supervised_tokens": 3 * each}
    assert fact["kinds"] == {"refusal": counts, "two lines": counts}
    planned = supervised_by_kind(recipe, sample_sources(recipe), tokenizer)
    assert planned == dict.fromkeys(
        ("refusal", "two lines", "untagged"), (counts["supervised_tokens"], counts["tokens"])
    )
