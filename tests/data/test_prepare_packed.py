"""Best-fit packing on the way from a recipe to rows: nothing is lost, sources stay apart, and a trainer takes what comes out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from hfrecipes.data.encode import IGNORED
from hfrecipes.data.prepare import prepare
from hfrecipes.recipe.loader import Recipe
from hfrecipes.tokenization.tokenizer import Tokenizer

MakeRecipe = Callable[..., Recipe]
SOURCES = "train: [{path: numbers.jsonl}, {path: letters.jsonl}], eval: [{path: measured.jsonl}]"
PACKING = "max_steps: 1, max_length: 64, packing: true"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("numbers.jsonl", ({"prompt": "1" * (n % 7 + 1), "completion": "2" * (n % 23 + 1)} for n in range(90)))
    write("letters.jsonl", ({"prompt": "a" * (n % 5 + 1), "completion": "b" * (n % 90 + 1)} for n in range(60)))
    write("measured.jsonl", [{"prompt": "?", "completion": "!"}])


def write(name: str, rows: Iterable[dict[str, Any]]) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def tokens(rows: Any, column: str = "input_ids") -> Counter[int]:
    return Counter(token for row in rows for token in row[column])


@pytest.mark.usefixtures("files")
def test_packed_rows_hold_every_token_and_none_holds_two_sources(
    make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    plain = prepare(make_recipe(SOURCES, "max_steps: 1, max_length: null"), tokenizer, tmp_path / "cache")
    recipe = make_recipe(SOURCES, f"{PACKING}, packing_strategy: bfd_split")
    packed = prepare(recipe, tokenizer, tmp_path / "cache")
    assert tokens(packed.train) == tokens(plain.train)
    assert packed.train.column_names == ["input_ids", "labels", "seq_lengths"]
    for row in packed.train:
        assert sum(row["seq_lengths"]) == len(row["input_ids"]) <= 64
        text = tokenizer.decode(row["input_ids"])
        assert not (set("12") & set(text) and set("ab") & set(text.replace("<|endoftext|>", "")))
        begin = 0
        for length in row["seq_lengths"]:
            assert row["labels"][begin] == IGNORED
            begin += length
    # All that was learned without packing is, but for the first token of each further piece of a long example.
    lost = tokens(plain.train, "labels") - tokens(packed.train, "labels")
    del lost[IGNORED]
    pieces = sum(len(row["seq_lengths"]) for row in packed.train) - len(plain.train)
    assert 0 <= sum(lost.values()) <= pieces
    assert [part.key for part in packed.parts] == ["data.train.0", "data.train.1"]
    assert sum(part.rows for part in packed.parts) == len(packed.train)
    assert sum(part.tokens for part in packed.parts) == sum(tokens(packed.train).values())
    assert len(packed.train) < len(plain.train) / 2
    # What is measured on is not packed.
    assert packed.eval["measured.jsonl"][:] == plain.eval["measured.jsonl"][:]


@pytest.mark.usefixtures("files")
def test_what_bfd_cuts_is_counted_and_nothing_else_is_lost(
    make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    plain = prepare(make_recipe(SOURCES, "max_steps: 1, max_length: 64"), tokenizer, tmp_path / "cache")
    packed = prepare(make_recipe(SOURCES, PACKING), tokenizer, tmp_path / "cache")
    assert tokens(packed.train) == tokens(plain.train)
    assert [fact["truncated_tokens"] for fact in packed.facts] == [fact["truncated_tokens"] for fact in plain.facts]
    assert any("longer than max_length 64" in warning for warning in packed.warnings)


@pytest.mark.usefixtures("files")
def test_packed_rows_leave_no_copy_of_themselves_in_the_cache(
    make_recipe: MakeRecipe, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    prepare(make_recipe(SOURCES, PACKING), tokenizer, tmp_path / "cache")
    (folder,) = (path for path in (tmp_path / "cache" / "prepared").iterdir() if path.is_dir())
    assert sorted(file.name for file in folder.iterdir()) == [
        *("eval-0.arrow", "facts.json", "manifest.json", "train.arrow"),
    ]
