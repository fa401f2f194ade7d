"""Prepared once, whole, the same for everyone who asks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data import prepare as prepare_module
from hfrecipes.data.prepare import prepare, training_texts
from hfrecipes.data.row_writer import RowWriter
from hfrecipes.data.settings import sft_settings
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

MakeRecipe = Callable[..., Recipe]
DOCUMENTS = [f"Document {number} says naïve things. 🦊 " * 3 for number in range(40)]
PAIRS = [{"prompt": f"What is {n}?", "completion": f" It is {n}."} for n in range(30)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    texts, pairs = [{"text": text} for text in DOCUMENTS], PAIRS
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return tmp_path


def test_pretraining_rows(data: Path, make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path) -> None:
    recipe = make_recipe(
        "train: [{path: a.jsonl}, {path: b.jsonl, columns: {text: completion}}], eval: [{path: a.jsonl}],"
        " context_length: 32",
        kind="pretrain",
    )
    prepared = prepare(recipe, tokenizer, tmp_path / "cache")
    stream = [token for ids in tokenizer.encode_ids(DOCUMENTS) for token in [*ids, tokenizer.eos_token_id]]
    evaluated = prepared.eval["a.jsonl"]
    assert evaluated.column_names == ["input_ids", "labels", "position_ids", "num_bytes"]
    assert [token for row in evaluated["input_ids"] for token in row] == stream
    assert sum(evaluated["num_bytes"]) == sum(len(text.encode()) for text in DOCUMENTS)
    assert prepared.train.column_names == ["input_ids", "labels", "position_ids"]
    first, second, measured = prepared.facts
    assert [fact["role"] for fact in prepared.facts] == ["train", "train", "eval"]
    assert first["documents"] == 40 and first["tokens"] == len(stream) == measured["tokens"]
    assert first["rows"] + second["rows"] == len(prepared.train)
    assert first["bytes"] == sum(len(text.encode()) for text in DOCUMENTS)
    # every first token of a document but those at the beginning of a row
    inner = sum(row["position_ids"][1:].count(0) for row in evaluated)
    assert measured["tokens"] - measured["supervised_tokens"] == inner > 0


def test_without_a_document_mask(data: Path, make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path) -> None:
    recipe = make_recipe("train: [{path: a.jsonl}], context_length: 32, document_mask: false", kind="pretrain")
    train = prepare(recipe, tokenizer, tmp_path / "cache").train
    assert train.column_names == ["input_ids", "labels"] and train["labels"][:] == train["input_ids"][:]


def test_instruction_rows(data: Path, make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path) -> None:
    recipe = make_recipe("train: [{path: b.jsonl}], eval: [{path: b.jsonl, limit: 5}, {path: b.jsonl, limit: 5}]")
    prepared = prepare(recipe, tokenizer, tmp_path / "cache")
    texts = [tokenizer.decode([t for t in row["labels"] if t != -100]) for row in prepared.train]
    assert texts == [f" It is {n}.<|endoftext|>" for n in range(30)]
    assert list(prepared.eval) == ["b.jsonl", "b.jsonl#2"] and prepared.test == {}
    assert [len(rows) for rows in prepared.eval.values()] == [5, 5]
    assert prepared.eval["b.jsonl"].column_names == ["input_ids", "labels", "num_bytes"]
    assert [source.name for source in prepared.sources("eval")] == ["b.jsonl", "b.jsonl"]
    fact = prepared.facts[0]
    assert (fact["rows"], fact["documents"], fact["truncated_rows"], fact["dropped_rows"]) == (30, 30, 0, 0)
    assert fact["bytes"] == sum(len(row["prompt"] + row["completion"]) for row in PAIRS)
    (warning,) = prepared.warnings
    assert "5 documents say what an evaluation row says" in warning and "b.jsonl:1" in warning
    assert warning.endswith("with data.clean: [] they are left out")


def test_where_all_text_is_measured_on_cleaning_is_no_mend(
    data: Path, make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    recipe = make_recipe("train: [{path: b.jsonl, limit: 1}], eval: [{path: b.jsonl, limit: 1}]")
    (warning,) = prepare(recipe, tokenizer, tmp_path / "cache").warnings
    assert "1 document says what an evaluation row says" in warning and warning.endswith("measure on other text")
    cleaned = make_recipe("train: [{path: b.jsonl, limit: 1}], eval: [{path: b.jsonl, limit: 1}], clean: []")
    with pytest.raises(RecipeError, match=r"do not leave the one document.*measure on other text"):
        prepare(cleaned, tokenizer, tmp_path / "cache")


def test_what_is_cut_is_counted_and_said(
    data: Path, make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    lengths = [
        len(ids) for ids in tokenizer.encode_ids([r["prompt"] + r["completion"] + "<|endoftext|>" for r in PAIRS])
    ]
    prompts = [len(ids) for ids in tokenizer.encode_ids([row["prompt"] for row in PAIRS])]
    limit = max(prompts)
    recipe = make_recipe("train: [{path: b.jsonl}]", f"max_steps: 1, max_length: {limit}")
    prepared = prepare(recipe, tokenizer, tmp_path / "cache")
    (fact,) = prepared.facts
    assert fact["truncated_rows"] == 30
    assert fact["truncated_tokens"] == sum(lengths) - 30 * limit
    assert fact["dropped_rows"] == sum(length == limit for length in prompts) > 0
    assert fact["rows"] == len(prepared.train) == 30 - fact["dropped_rows"]
    assert f"30 of 30 rows are longer than max_length {limit}" in prepared.warnings[0]
    assert "were left out" in prepared.warnings[1]
    with pytest.raises(RecipeError, match=r"my.yaml:3: error: no row of b.jsonl is left"):
        prepare(make_recipe("train: [{path: b.jsonl}]", "max_steps: 1, max_length: 2"), tokenizer, tmp_path / "cache")


def test_prepared_rows_pass_through_sft_trainer_unchanged(
    data: Path, make_recipe: MakeRecipe, tokenizer: Tokenizer, tokenizer_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    prepared = prepare(make_recipe("train: [{path: b.jsonl}]"), tokenizer, tmp_path / "cache")
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    options = {"output_dir": str(tmp_path / "out"), "use_cpu": True, "bf16": False, "report_to": "none"}
    for packing in (False, True):
        trainer = SFTTrainer(
            LlamaForCausalLM(LlamaConfig(vocab_size=400, **shape)),
            args=SFTConfig(**options, packing=packing, max_length=64, max_steps=1, shuffle_dataset=False),
            train_dataset=prepared.train,
            processing_class=AutoTokenizer.from_pretrained(tokenizer_folder),
        )
        tokens = sorted(token for row in trainer.train_dataset for token in row["input_ids"])
        assert tokens == sorted(token for row in prepared.train for token in row["input_ids"])
        supervised = sum(label != -100 for row in trainer.train_dataset for label in row["labels"])
        assert supervised == prepared.facts[0]["supervised_tokens"]
        assert trainer.train().training_loss > 0


@pytest.mark.parametrize(
    ("training", "row", "message"),
    [
        ("assistant_only_loss: true", {"text": "x"}, "assistant_only_loss needs messages"),
        ("completion_only_loss: true", {"text": "x"}, "completion_only_loss needs a completion"),
        ("assistant_only_loss: true", {"messages": [{"role": "user", "content": "x"}]}, "has no token that the loss"),
    ],
)
def test_rows_that_cannot_be_trained_on(
    training: str, row: dict[str, Any], message: str, make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    (tmp_path / "c.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(RecipeError, match=rf"c.jsonl:1: error: {message}"):
        prepare(make_recipe("train: [{path: c.jsonl}]", f"max_steps: 1, {training}"), tokenizer, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "prepared").glob("*.part"))


def test_pretraining_on_chats_is_refused(
    make_recipe: MakeRecipe, tokenizer: Tokenizer, data: Path, tmp_path: Path
) -> None:
    recipe = make_recipe("train: [{path: b.jsonl}]", kind="pretrain")
    with pytest.raises(RecipeError, match=r"b.jsonl:1: error: pretraining reads text"):
        prepare(recipe, tokenizer, tmp_path / "cache")


def test_a_second_call_finds_the_rows(
    data: Path, make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe("train: [{path: b.jsonl}], eval: [{path: a.jsonl}]")
    first = prepare(recipe, tokenizer, tmp_path / "cache")
    monkeypatch.setattr(RowWriter, "write", None)
    second = prepare(recipe, tokenizer, tmp_path / "cache")
    assert second.facts == first.facts and second.train[:] == first.train[:]


@pytest.mark.parametrize("change", ["data", "length", "limit", "tokenizer", "columns"])
def test_every_change_prepares_anew(
    change: str, data: Path, make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    import dataclasses

    before = prepare(make_recipe("train: [{path: b.jsonl}]"), tokenizer, tmp_path / "cache").fingerprint
    source, training = "path: b.jsonl", "max_steps: 1"
    if change == "data":
        with (data / "b.jsonl").open("a") as file:
            file.write(json.dumps(PAIRS[0]) + "\n")
    elif change == "length":
        training += ", max_length: 100"
    elif change == "limit":
        source += ", limit: 3"
    elif change == "columns":
        source += ", columns: {text: prompt}"
    else:
        tokenizer = dataclasses.replace(tokenizer, chat_templates={"default": "{{ messages }}"})
    after = prepare(make_recipe(f"train: [{{{source}}}]", training), tokenizer, tmp_path / "cache").fingerprint
    assert after != before


def test_many_at_once_prepare_once(
    data: Path, make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe("train: [{path: b.jsonl}]")
    written: list[Path] = []
    original = RowWriter.write

    def write(writer: RowWriter, opened: Any) -> None:
        written.append(writer.folder)
        original(writer, opened)

    monkeypatch.setattr(RowWriter, "write", write)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: prepare(recipe, tokenizer, tmp_path / "cache"), range(4)))
    assert len(written) == 1
    assert all(result.train[:] == results[0].train[:] for result in results)


def test_text_field_of_sft_config_is_honoured(make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"body": "The fox."}\n')
    recipe = make_recipe("train: [{path: c.jsonl}]", "max_steps: 1, dataset_text_field: body")
    (row,) = prepare(recipe, tokenizer, tmp_path / "cache").train
    assert tokenizer.decode(row["input_ids"]) == "The fox.<|endoftext|>"


def test_settings_follow_trl(make_recipe: MakeRecipe) -> None:
    source = "train: [{name: python_code}]"
    assert sft_settings(make_recipe(source)).max_length == 1024
    assert sft_settings(make_recipe(source, "max_steps: 1, max_length: null")).max_length is None
    assert sft_settings(make_recipe(source, "max_steps: 1, packing: true")).max_length == 1024
    wrapped = "max_steps: 1, packing: true, packing_strategy: wrapped"
    assert sft_settings(make_recipe(source, wrapped)).max_length is None
    with pytest.raises(RecipeError, match="packing needs a max_length"):
        sft_settings(make_recipe(source, "max_steps: 1, packing: true, max_length: null"))


def test_texts_for_a_tokenizer_are_bounded(data: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe("train: [{path: a.jsonl}, {path: b.jsonl}]")
    texts = list(training_texts(recipe))
    assert texts == DOCUMENTS + [text for row in PAIRS for text in (row["prompt"], row["completion"])]
    few = list(training_texts(recipe, max_bytes=400))
    assert few[0] == DOCUMENTS[0] and PAIRS[0]["prompt"] in few and len(few) < 40


def test_the_room_imports_nothing_heavy() -> None:
    names = [path.stem for path in Path(prepare_module.__file__).parent.glob("[a-z]*.py")]
    code = (
        f"import sys, importlib; [importlib.import_module('hfrecipes.data.' + name) for name in {names}];"
        "print([m for m in ('torch', 'transformers', 'trl', 'peft', 'datasets') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
