"""The last look at rows before training: ids, labels, lengths, and something to learn in each."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.data.gate import describe_rows, refuse_unusable_rows, rows_with_loss
from hfrecipes.data.prepare import prepare
from hfrecipes.data.store import load_rows, write_rows
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

GOOD = {"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}


def problems_of(rows: list[dict[str, Any]] | Dataset, num_embeddings: int = 10) -> list[Problem]:
    dataset = rows if isinstance(rows, Dataset) else Dataset.from_list(rows)
    try:
        refuse_unusable_rows(dataset, num_embeddings, "my.yaml:3", "data.train")
    except RecipeError as error:
        return error.problems
    return []


def test_rows_that_teach_pass() -> None:
    assert problems_of([GOOD, {"input_ids": [9, 0], "labels": [9, 0]}] * 1500) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input_ids": [1, 10], "labels": [1, 1]}, "holds the id 10, and the model knows ids from 0 to 9"),
        ({"input_ids": [1, -1], "labels": [1, 1]}, "holds the id -1"),
        ({"input_ids": [1, -100], "labels": [1, 1]}, "holds the id -100"),
        ({"input_ids": [1, None], "labels": [1, 1]}, "holds the id -1"),
        (
            {"input_ids": [1, 2], "labels": [-100, 11]},
            "holds the label 11, which is neither -100 nor an id from 0 to 9",
        ),
        ({"input_ids": [1, 2], "labels": [-100, -1]}, "holds the label -1"),
        ({"input_ids": [1, 2], "labels": [1]}, "has columns of different lengths"),
        ({"input_ids": None, "labels": [1, 1]}, "has columns of different lengths"),
        ({"input_ids": [1, 2], "labels": [-100, -100]}, "has no label that carries loss"),
        ({"input_ids": [1, 2], "labels": [1, -100]}, "has no label that carries loss"),
        ({"input_ids": [1], "labels": [1]}, "has no label that carries loss"),
        ({"input_ids": [], "labels": []}, "has no label that carries loss"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: dict[str, Any], message: str) -> None:
    rows = [GOOD] * 2500
    rows[1017] = rows[2044] = row
    (problem,) = problems_of(rows)
    assert problem.where == "my.yaml:3" and problem.fix
    assert problem.message.startswith(f"data.train: row 1017 (counted from 0) {message}")
    assert problem.message.endswith("so it is in 2 of 2,500 rows")


def test_every_kind_of_fault_is_said_at_once() -> None:
    rows = [{"input_ids": [1, 99], "labels": [1, 98]}, {"input_ids": [1], "labels": [1]}]
    assert [problem.message.split(" (")[0] for problem in problems_of(rows)] == [
        "data.train: row 0",
        "data.train: row 0",
        "data.train: row 1",
    ]


def test_data_that_is_no_training_data_is_refused() -> None:
    (problem,) = problems_of(Dataset.from_dict({"text": ["x"]}))
    assert "has no column input_ids and labels; it has text" in problem.message
    (problem,) = problems_of(Dataset.from_dict({"input_ids": [], "labels": []}))
    assert problem.message == "data.train has no rows"


@pytest.mark.parametrize("number", ["int32", "int64"])
@pytest.mark.parametrize("kind", ["List", "LargeList"])
def test_all_types_of_columns_are_read(number: str, kind: str) -> None:
    import datasets

    column = getattr(datasets, kind)(datasets.Value(number))
    features = datasets.Features({"input_ids": column, "labels": column})
    rows = [GOOD, {"input_ids": [1, 10], "labels": [-100, -7]}]
    assert len(problems_of(Dataset.from_list(rows, features=features))) == 2
    assert problems_of(Dataset.from_list(rows[:1], features=features)) == []


def test_rows_are_counted_in_the_order_of_the_trainer() -> None:
    dataset = Dataset.from_list([GOOD, GOOD, {"input_ids": [1, 77], "labels": [1, 1]}]).select([2, 0, 1])
    (problem,) = problems_of(dataset)
    assert "row 0 (counted from 0) holds the id 77" in problem.message


documents = st.lists(
    st.lists(st.sampled_from([-100, 5]), min_size=1, max_size=4), min_size=1, max_size=4
)  # labels of a row's documents


@given(rows=st.lists(documents, min_size=1, max_size=6), form=st.sampled_from(["plain", "position_ids", "seq_lengths"]))
def test_what_carries_loss_is_what_the_shifted_labels_say(rows: list[list[list[int]]], form: str) -> None:
    # The oracle shifts by hand: each label but the first of a document (or, where these are not known, of the row).
    expected, table = [], []
    for parts in rows:
        labels = [label for part in parts for label in part]
        row = {"input_ids": [5] * len(labels), "labels": labels}
        if form == "position_ids":
            row["position_ids"] = [position for part in parts for position in range(len(part))]
        if form == "seq_lengths":
            row["seq_lengths"] = [len(part) for part in parts]
        table.append(row)
        shifted = labels[1:] if form == "plain" else [label for part in parts for label in part[1:]]
        expected.append(any(label != -100 for label in shifted))
    dataset = Dataset.from_list(table)
    assert rows_with_loss(dataset).tolist() == expected
    assert bool(problems_of(dataset)) == (not all(expected))


def test_a_packed_row_whose_documents_do_not_fill_it_is_refused() -> None:
    row = {"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}
    assert problems_of([{**row, "seq_lengths": [2, 2]}]) == []
    (problem,) = problems_of([{**row, "seq_lengths": [2, 1]}, {**row, "seq_lengths": [3, 2]}])
    assert "row 0 (counted from 0) has columns of different lengths; so it is in 2 of 2 rows" in problem.message
    with pytest.raises(ValueError, match="different lengths"):
        rows_with_loss(Dataset.from_list([{**row, "seq_lengths": [2, 1]}]))


@pytest.mark.parametrize("strategy", ["bfd", "bfd_split", "wrapped"])
def test_rows_that_trl_packed_are_read(strategy: str) -> None:
    from trl import pack_dataset

    rows = [{"input_ids": [1] * 6, "labels": [-100, -100, -100, -100, 1, 1]} for _ in range(8)]
    packed = pack_dataset(Dataset.from_list(rows), 4, strategy)
    carries = [any(label != -100 for label in row["labels"][1:]) for row in packed]
    if "seq_lengths" in packed.column_names:  # each of these rows holds one document or two of two tokens
        carries = [any(row["labels"][index] != -100 for index in inner(row["seq_lengths"])) for row in packed]
    assert rows_with_loss(packed).tolist() == carries
    kept = packed.select(np.flatnonzero(rows_with_loss(packed)))
    assert all(carries) or problems_of(packed)
    assert len(kept) == 0 or problems_of(kept) == []


def inner(lengths: list[int]) -> list[int]:
    """Positions in a row that are not the first of a document."""
    starts = np.cumsum([0, *lengths])[:-1]
    return [start + offset for start, length in zip(starts, lengths, strict=True) for offset in range(1, length)]


def test_a_hundred_million_tokens_are_looked_at_in_a_second_or_so(tmp_path: Path) -> None:
    row = {"input_ids": np.arange(512, dtype=np.int32), "labels": np.arange(512, dtype=np.int32)}
    write_rows(tmp_path / "rows.arrow", (row for _ in range(40_000)), ["input_ids", "labels"])
    dataset = load_rows(tmp_path / "rows.arrow")
    began = time.monotonic()
    assert problems_of(dataset, 512) == []
    assert time.monotonic() - began < 2.0  # it takes 0.04; Python's lists would take ten


def test_rows_are_described_by_their_text(tokenizer: Tokenizer) -> None:
    texts = ["The fox.", "lazy\ndog " * 40, "三", "four"]
    dataset = Dataset.from_dict({"input_ids": tokenizer.encode_ids(texts)})
    told = describe_rows(dataset, [1, 0, 3, 2], tokenizer.decode, limit=2)
    assert told == [
        f"row 1: {('lazy' + chr(10) + 'dog ') * 6 + 'lazy' + chr(10) + 'd…'!r}",
        "row 0: 'The fox.'",
        "and 2 more",
    ]
    assert describe_rows(dataset, np.array([2]), tokenizer.decode) == ["row 2: '三'"]


@pytest.mark.parametrize("before", [0, 20, 40, 57, 80])
def test_no_part_of_a_secret_is_left_where_a_row_is_cut(before: int) -> None:
    dataset = Dataset.from_dict({"input_ids": [[1]]})
    (told,) = describe_rows(dataset, [0], lambda ids: "." * before + "hf_" + "Standin" * 5)
    assert "hf_" not in told and "Standin" not in told


# The normal way to an id that the model does not know: another model's tokenizer.


def end_to_end(recipe: Recipe, folder: Path, num_embeddings: int, cache: Path) -> list[Problem]:
    prepared = prepare(recipe, Tokenizer.load(folder), cache)
    return problems_of(prepared.train, num_embeddings)


@pytest.mark.parametrize("kind", ["sft", "pretrain"])
def test_tokens_added_behind_the_embedding_are_refused(
    kind: str, make_recipe: Callable[..., Recipe], tokenizer_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    added = AutoTokenizer.from_pretrained(tokenizer_folder)
    before = len(added)
    added.add_tokens(["<think>", "</think>"])
    added.save_pretrained(tmp_path / "added")
    rows = [{"text": "The fox."}, {"text": "The <think>fox</think>."}, {"text": "<think>"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = make_recipe("train: [{path: rows.jsonl}]", kind=kind)
    (ids, labels) = end_to_end(recipe, tmp_path / "added", before, tmp_path / "cache")
    row, count = (1, "2 of 3 rows") if kind == "sft" else (0, "1 of 1 rows")
    assert ids.message == (
        f"data.train: row {row} (counted from 0) holds the id {before}, and the model knows ids from 0 to {before - 1}; "
        f"so it is in {count}"
    )
    assert "tokenizer and model do not belong together" in ids.fix and f"the label {before}" in labels.message
    assert end_to_end(recipe, tmp_path / "added", before + 2, tmp_path / "cache") == []


def test_ids_behind_a_hole_in_the_vocabulary_are_refused(
    make_recipe: Callable[..., Recipe], tokenizer_folder: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    folder = tmp_path / "holes"
    shutil.copytree(tokenizer_folder, folder)
    file = json.loads((folder / "tokenizer.json").read_text())
    file["model"]["vocab"]["a"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(file))
    count = len(AutoTokenizer.from_pretrained(folder))
    assert count < 5000  # so a model as large as the tokenizer says it is does not know the id
    (tmp_path / "rows.jsonl").write_text('{"text": "x y z"}\n{"text": "a a"}\n')
    recipe = make_recipe("train: [{path: rows.jsonl}]")
    small = {"vocab_size": count, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    llama = LlamaForCausalLM(LlamaConfig(**small, intermediate_size=8))
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=count, n_embd=8, n_layer=1, n_head=1))
    for model in (llama, gpt2):
        rows = model.get_input_embeddings().num_embeddings
        problem = end_to_end(recipe, folder, rows, tmp_path / "cache")[0]
        assert (
            f"row 1 (counted from 0) holds the id 5000, and the model knows ids from 0 to {count - 1}"
            in problem.message
        )
