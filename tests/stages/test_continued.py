"""Continued pretraining end to end on a tiny model: pieces are added, both domains are measured before and after."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from hfrecipes import RunOptions, load_recipe, run
from hfrecipes.models.recipe_tokenizer import obtain_tokenizer, tokenizer_location
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.rundir import RunDir
from tests.tokenization.bpe_families import OLD_TEXTS, new_texts, write

ADDED = 150
RECIPE = """
kind: pretrain
model: {name_or_path: base, tokenizer: TOKENIZER}
data:
  context_length: 64
  mixture:
    sources:
      zh: {path: new.jsonl, domain: new, weight: 0.7}
      en: {path: old.jsonl, domain: old, weight: 0.3}
  eval:
    - {path: new_eval.jsonl, domain: new}
    - {path: old_eval.jsonl, domain: old}
  test: [{path: other.jsonl}]
training: {learning_rate: 1.0e-2, global_batch_size: 4, max_steps: 12, logging_steps: 4, eval_strategy: "no"}
evaluation: {samples: 1}
"""


def write_rows(file: Path, texts: list[str]) -> None:
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def write_all(folder: Path) -> None:
    """A base of random weights with a tokenizer that knows English, and rows of two languages."""
    write("llama3", folder / "base")
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = AutoConfig.for_model(
        "llama", vocab_size=len(tokenizer) + 3, max_position_embeddings=64, num_key_value_heads=2, **sizes, **special
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "base")
    write_rows(folder / "new.jsonl", new_texts(80))
    write_rows(folder / "new_eval.jsonl", new_texts(6, seed=1))
    write_rows(folder / "old.jsonl", [f"{n}. {text}" for n, text in enumerate(OLD_TEXTS[:60])])
    write_rows(folder / "old_eval.jsonl", [f"{n}: {text}" for n, text in enumerate(OLD_TEXTS[:8])])
    write_rows(folder / "other.jsonl", ["Something else entirely, of no domain.", "And a second text of it."])


def write_recipe(folder: Path, tokenizer: str) -> Recipe:
    file = folder / "continue.yaml"
    file.write_text(RECIPE.replace("TOKENIZER", tokenizer), encoding="utf-8")
    return load_recipe(file)


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("continued")
    write_all(folder)
    recipe = write_recipe(folder, f"{{extend: {ADDED}}}")
    return RunDir(run(recipe, options=RunOptions(runs_dir=folder / "runs", quiet=True)))


def by_dataset(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["dataset"]: entry for entry in entries}


def read_texts(file: Path) -> list[str]:
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_model_is_saved_with_its_new_pieces_for_anyone_to_load(extended: RunDir) -> None:
    base = AutoTokenizer.from_pretrained(extended.path.parent.parent / "base")
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(extended.model),
        AutoTokenizer.from_pretrained(extended.model),
    )
    assert len(tokenizer) == len(base) + ADDED
    rows = model.get_input_embeddings().num_embeddings
    assert (
        rows == model.config.vocab_size == model.get_output_embeddings().out_features == -(-len(tokenizer) // 64) * 64
    )
    text = new_texts(1, seed=5)[0]
    assert len(tokenizer(text)["input_ids"]) < 0.5 * len(base(text)["input_ids"])
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer(OLD_TEXTS[0])["input_ids"] == base(OLD_TEXTS[0])["input_ids"]
    assert tokenizer.eos_token_id == base.eos_token_id == model.config.eos_token_id


def test_compression_before_and_after_is_in_the_facts(extended: RunDir) -> None:
    facts, folder = extended.facts()["tokenizer"], extended.path.parent.parent
    assert facts["added"] == ADDED and facts["entries"] == facts["entries_before"] + ADDED
    readers = {"before": folder / "base", "after": extended.model}
    for name, figures in by_dataset(facts["compression"]).items():
        texts = read_texts(folder / name)
        for when, reader in readers.items():
            ids = AutoTokenizer.from_pretrained(reader)(texts, add_special_tokens=False)["input_ids"]
            tokens = sum(map(len, ids))
            assert figures[when]["bytes_per_token"] == pytest.approx(sum(len(t.encode()) for t in texts) / tokens)
            assert figures[when]["tokens_per_character"] == pytest.approx(tokens / sum(map(len, texts)))
    figures = by_dataset(facts["compression"])
    assert (
        figures["new_eval.jsonl"]["after"]["bytes_per_token"]
        > 2 * figures["new_eval.jsonl"]["before"]["bytes_per_token"]
    )
    assert figures["old_eval.jsonl"]["after"] == figures["old_eval.jsonl"]["before"]


def bits_per_byte(folder: Path, texts: list[str]) -> float:
    """Of texts that fit into one row: by the model's own loss, one text at a time."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    nats, size = 0.0, 0
    for text in texts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            nats += model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
        size += len(text.encode())
    return nats / size / math.log(2)


def test_the_starting_model_is_measured_through_its_own_tokenizer(extended: RunDir) -> None:
    folder = extended.path.parent.parent
    texts = read_texts(folder / "other.jsonl")
    found = {
        entry["model"]: entry["value"]
        for entry in extended.facts()["evaluations"]
        if entry["dataset"] == "other.jsonl" and entry["metric"] == "bits_per_byte"
    }
    assert found["base"] == pytest.approx(bits_per_byte(folder / "base", texts), rel=1e-4)
    assert found["tuned"] == pytest.approx(bits_per_byte(extended.model, texts), rel=1e-4)


def test_costs_per_token_are_told_of_the_trained_model_alone(extended: RunDir) -> None:
    told = {(entry["model"], entry["metric"]) for entry in extended.facts()["evaluations"]}
    assert told == {
        ("base", "bits_per_byte"),
        ("tuned", "bits_per_byte"),
        ("tuned", "perplexity"),
        ("tuned", "token_loss"),
    }


def test_gain_and_forgetting_agree_with_the_evaluations(extended: RunDir) -> None:
    facts = extended.facts()
    values = {
        (entry["model"], entry["dataset"]): entry["value"]
        for entry in facts["evaluations"]
        if entry["metric"] == "bits_per_byte"
    }
    changes = by_dataset(facts["continued"]["changes"])
    assert changes.keys() == {"new_eval.jsonl", "old_eval.jsonl"}, "the third set is of no domain"
    for name, change in changes.items():
        assert change["change"]["value"] == pytest.approx(values["tuned", name] - values["base", name])
    gain, forgetting = facts["continued"]["gain"], facts["continued"]["forgetting"]
    assert gain["value"] == pytest.approx(-changes["new_eval.jsonl"]["change"]["value"]) and gain["low"] > 0
    assert forgetting["value"] == pytest.approx(changes["old_eval.jsonl"]["change"]["value"])


def test_the_extended_tokenizer_is_made_once_and_anew_for_other_words(extended: RunDir) -> None:
    folder = extended.path.parent.parent
    recipe = write_recipe(folder, f"{{extend: {ADDED}}}")
    location = Path(tokenizer_location(recipe))
    made = (location / "tokenizer.json").stat().st_mtime_ns
    obtain_tokenizer(recipe)
    assert (location / "tokenizer.json").stat().st_mtime_ns == made
    assert tokenizer_location(write_recipe(folder, "{extend: 149}")) != location
    more = json.dumps({"text": "more"}) + "\n"
    for file, moves in (("old.jsonl", False), ("new.jsonl", True)):
        text = (folder / file).read_text(encoding="utf-8")
        (folder / file).write_text(text + more, encoding="utf-8")
        assert (tokenizer_location(write_recipe(folder, f"{{extend: {ADDED}}}")) != location) == moves
        (folder / file).write_text(text, encoding="utf-8")


def test_without_new_pieces_the_same_rows_are_compared(tmp_path: Path) -> None:
    write_all(tmp_path)
    recipe = write_recipe(tmp_path, "null")
    facts = RunDir(run(recipe, options=RunOptions(runs_dir=tmp_path / "runs", quiet=True))).facts()
    assert "tokenizer" not in facts
    values = {
        (entry["model"], entry["dataset"]): (entry["value"], entry["n"])
        for entry in facts["evaluations"]
        if entry["metric"] == "bits_per_byte"
    }
    for change in facts["continued"]["changes"]:
        before, n = values["base", change["dataset"]]
        assert change["change"]["value"] == pytest.approx(values["tuned", change["dataset"]][0] - before)
        assert change["before"]["value"] == pytest.approx(before) and change["change"]["n"] == n


def test_a_resumed_run_with_another_number_of_pieces_is_refused(tmp_path: Path) -> None:
    write_all(tmp_path)
    options = {"runs_dir": tmp_path / "runs", "quiet": True}
    words = ["training.max_steps=4", "training.save_steps=2"]
    file = write_recipe(tmp_path, "{extend: 20}").path
    run(file, words, options=RunOptions(**options))
    run_json = tmp_path / "runs" / "continue" / "run.json"
    facts = json.loads(run_json.read_text())
    run_json.write_text(json.dumps({**facts, "status": "interrupted"}))
    write_recipe(tmp_path, "{extend: 21}")
    with pytest.raises(RecipeError, match=r"model\.tokenizer\.extend was 20, is 21"):
        run(file, words, options=RunOptions(**options, resume=True))
