"""Files that a machine damaged or a person mixed up: refused by their place, and nothing in them is lost without a word."""

from __future__ import annotations

import gzip
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hfrecipes.data.local import read_file
from hfrecipes.data.prepare import prepare
from hfrecipes.data.sources import open_source, open_sources
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer, train_tokenizer

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(name: str) -> str:
    with pytest.raises(RecipeError) as caught:
        list(read_file(Path(name).absolute()))
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        (
            "a.jsonl",
            b'{"text": "x"}\n{"text": "first", "text": "second"}\n',
            "a.jsonl:2: error: .*'text' is said twice",
        ),
        ("a.jsonl", b'{"m": {"role": "user", "role": "x"}}\n', "a.jsonl:1: error: .*'role' is said twice"),
        ("a.json", b'[{"text": "x", "text": "y"}]', "a.json: error: .*'text' is said twice"),
        ("a.jsonl", b'{"text": "x"}\n' + b"\x00" * 512 + b"\n", "a.jsonl:2: error: holds nothing but NUL bytes"),
        ("a.jsonl", gzip.compress(b'{"text": "x"}\n', mtime=0), r"a.jsonl:1: error: is compressed \(.* ends in .gz"),
        ("a.json", b'{"text": "x"}\n{"text": "y"}\n', r"a.json: error: .*with an object on each line, name it .jsonl"),
        ("a.jsonl", b"[" * 100_000, "a.jsonl:1: error: is nested too deeply"),
    ],
)
def test_what_python_would_read_otherwise_than_it_was_meant_is_refused(name: str, content: bytes, told: str) -> None:
    Path(name).write_bytes(content)
    assert re.search(f"^{told}", refusal(name))


def test_equal_keys_of_different_objects_are_no_repeats() -> None:
    Path("a.jsonl").write_text('{"messages": [{"role": "user"}, {"role": "assistant"}], "role": "x"}\n')
    (row,) = read_file(Path("a.jsonl"))
    assert row.values == {"messages": [{"role": "user"}, {"role": "assistant"}], "role": "x"}


def test_values_of_parquet_that_python_has_none_for_are_named_by_row_and_column() -> None:
    moments = pa.array([0] * 1500 + [10**18], pa.timestamp("us"))  # the year 33,658
    pq.write_table(pa.table({"text": ["x"] * 1501, "when": moments}), "a.parquet")
    assert refusal("a.parquet").startswith("a.parquet: row 1501: error: when cannot be read: date value out of range")
    offsets = pa.array([0, 1, 3], pa.int32()).buffers()[1]
    broken = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"a\xff\xfe")])
    pq.write_table(pa.Table.from_arrays([broken], ["text"]), "b.parquet")
    assert refusal("b.parquet").startswith("b.parquet: row 2: error: text cannot be read: 'utf-8' codec")


def test_columns_of_parquet_with_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"])
    pq.write_table(table, "a.parquet")
    assert refusal("a.parquet").startswith("a.parquet: error: the header names 'text' more than once")


@pytest.mark.parametrize("text", ["\u200b", "\u200b \u00a0\ufeff", "\x07", "\u2060\u3000\n"])
def test_text_that_nobody_can_see_is_empty(text: str, make_recipe: MakeRecipe, tokenizer: Tokenizer) -> None:
    Path("a.jsonl").write_text('{"prompt": "q", "completion": "a"}\n', encoding="utf-8")
    Path("b.csv").write_text(f'prompt,completion\nq,"{text}"\n', encoding="utf-8")
    with pytest.raises(RecipeError, match=r"^b.csv:2: error: completion is empty"):
        prepare(make_recipe("train: [{path: a.jsonl}, {path: b.csv}]"), tokenizer, Path("cache"))


@pytest.mark.parametrize("text", ["\ue000", "\u0301", "👩\u200d👧", "\u200f\u05d0", "\U0001fae9"])
def test_marks_private_characters_and_joined_emoji_are_text(
    text: str, make_recipe: MakeRecipe, tokenizer: Tokenizer
) -> None:
    Path("b.csv").write_text(f'prompt,completion\nq,"{text}"\n', encoding="utf-8")
    assert len(prepare(make_recipe("train: [{path: b.csv}]"), tokenizer, Path("cache")).train) == 1


def opened(make_recipe: MakeRecipe, spec: str) -> Any:
    recipe = make_recipe(f"train: [{{{spec}}}]")
    return open_source(recipe.get("data.train.0"), recipe, "my.yaml:3")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("path: pipe.jsonl", "pipe.jsonl is neither a file nor a folder"),
        ("path: 'https://example.org/a.jsonl'", r"'?https://example.org/a.jsonl is an address, .*\(download it"),
        ("path: folder", "folder/b.jsonl is a link to a file that is not there"),
    ],
)
def test_paths_to_no_file_are_told_as_what_they_are(spec: str, told: str, make_recipe: MakeRecipe) -> None:
    os.mkfifo("pipe.jsonl")
    Path("folder").mkdir()
    Path("folder/a.jsonl").write_text('{"text": "x"}\n')
    Path("folder/b.jsonl").symlink_to("nowhere.jsonl")
    with pytest.raises(RecipeError, match=rf"my.yaml:3: error: {told}"):
        opened(make_recipe, spec)


def test_files_of_a_folder_that_are_not_read_are_named(make_recipe: MakeRecipe) -> None:
    Path("folder/sub").mkdir(parents=True)
    for name in ("train.jsonl", "test.jsonl", "more.jsonl", "sub/extra.csv", "report.json"):
        Path("folder", name).write_text('{"text": "x"}\n')
    for name in ("scan.pdf", "rows.jsonl.zst", "LICENSE", "README.md", ".hidden"):
        Path("folder", name).write_text("x")
    (note,) = opened(make_recipe, "path: folder, split: train").notes()
    assert note == (
        "folder: files are left out: rows.jsonl.zst, scan.pdf (of no format that is read); "
        "more.jsonl, sub/extra.csv (named after no split)"
    )
    Path("plain").mkdir()
    Path("plain/a.jsonl").write_text('{"text": "x"}\n')
    assert opened(make_recipe, "path: plain").notes() == () == opened(make_recipe, "path: plain/a.jsonl").notes()


def test_words_of_a_source_that_contradict_each_other_are_told_when_it_is_opened(make_recipe: MakeRecipe) -> None:
    Path("a.jsonl").write_text('{"text": "x", "label": 0}\n')
    for words, told in (
        ("labels: [a, b]", "labels: is for task: classification"),
        ("task: classification, labels: [a, a]", "labels: lists 'a' twice"),
        ("task: classification, templates: [{prompt: '{{ text', completion: '{{ label }}'}]", "is no Jinja"),
        ("kind: ' '", "kind is empty"),
    ):
        recipe = make_recipe(f"train: [{{path: a.jsonl, {words}}}]")
        with pytest.raises(RecipeError, match=rf"my.yaml:3: error: .*{told}"):
            open_sources(recipe, "train")


def test_a_format_function_that_is_missing_is_told_at_its_place(make_recipe: MakeRecipe, tokenizer: Tokenizer) -> None:
    Path("a.jsonl").write_text('{"text": "x"}\n' * 3)
    recipe = make_recipe("train: [{path: a.jsonl, format: 'no_such_module:f'}]")
    with pytest.raises(RecipeError, match=r"my.yaml:3: error: no_such_module cannot be imported"):
        prepare(recipe, tokenizer, Path("cache"))


def test_rows_that_change_while_they_are_read_are_not_prepared(
    make_recipe: MakeRecipe, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hfrecipes.data import row_writer

    Path("a.jsonl").write_text('{"text": "one"}\n')
    recipe, tally = make_recipe("train: [{path: a.jsonl}]"), row_writer._refuse_nothing

    def appended(*words: Any) -> None:
        tally(*words)
        with Path("a.jsonl").open("a") as file:
            file.write('{"text": "two"}\n')

    with monkeypatch.context() as patch:
        patch.setattr(row_writer, "_refuse_nothing", appended)
        with pytest.raises(RecipeError, match=r"my.yaml:3: error: a.jsonl has changed while it was read"):
            prepare(recipe, tokenizer, Path("cache"))
    assert not [path for path in Path("cache/prepared").iterdir() if path.is_dir()]
    assert len(prepare(recipe, tokenizer, Path("cache")).train) == 2


@pytest.mark.parametrize("run", ["x" * 200_000, " " * 200_000, "ab-" * 70_000])
def test_a_tokenizer_is_trained_on_text_without_breaks_in_no_time(run: str, tmp_path: Path) -> None:
    """The library's trainer takes half a minute for these, and hours for ten times as much."""
    began = time.process_time()
    folder = train_tokenizer([f"The fox. {run} The end."], 300, tmp_path / "tokenizer")
    assert time.process_time() - began < 5
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.decode(tokenizer.encode_ids([run])[0]) == run
