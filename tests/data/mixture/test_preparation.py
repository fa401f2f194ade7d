"""The rows of a mixture: each source prepared by itself, whatever is done to its text before; shares change none of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.data.prepare import prepare, training_texts
from hfrecipes.models.recipe_tokenizer import tokenizer_location
from hfrecipes.recipe.loader import Recipe, load_recipe
from hfrecipes.tokenization.tokenizer import Tokenizer

SOURCES = "{{pears: {{path: pears.jsonl{split}, weight: {weight}}}, plums: {{path: plums.jsonl{split}, weight: 0.5}}}}"


def write(folder: Path, kind: str = "pretrain", more: str = "", training: str = "", weight: str = "0.5") -> Recipe:
    for name, rows in (("pears", 50), ("plums", 20)):
        texts = [f"{name.title()} number {n} of {name} lie in the basket of day {n}." for n in range(rows)]
        columns = [{"text": t} if kind == "pretrain" else {"prompt": t[:20], "completion": t[20:]} for t in texts]
        # A repeat, which cleaning leaves out.
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*columns, columns[0]]))
    sources = SOURCES.format(split=", split: train" if "splits" in more else "", weight=weight)
    context = "  context_length: 32\n" if kind == "pretrain" else ""
    (folder / "r.yaml").write_text(
        f"kind: {kind}\nmodel: {{config: {{model_type: llama}}, tokenizer: {{vocab_size: 400}}}}\n"
        f"data:\n{context}  mixture: {{sources: {sources}}}\n{more}training: {{max_steps: 1{training}}}\n"
    )
    return load_recipe(folder / "r.yaml")


@pytest.mark.parametrize(
    ("kind", "more", "training"),
    [
        ("pretrain", "", ""),
        ("pretrain", "  clean: [{rule: dedup_exact}]\n", ""),
        ("pretrain", "  splits: {shares: {train: 0.5, validation: 0.5}}\n", ""),
        ("sft", "", ""),
        ("sft", "", ", packing: true, max_length: 64"),
        ("sft", "  clean: [{rule: dedup_exact}]\n  augment: [{method: noise, share: 0.5}]\n", ", packing: true"),
    ],
)
def test_rows_of_each_source_follow_each_other_and_are_counted(
    kind: str, more: str, training: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    prepared = prepare(write(tmp_path, kind, more, training), tokenizer, tmp_path / "cache")
    assert [part.key for part in prepared.parts] == ["data.mixture.sources.pears", "data.mixture.sources.plums"]
    first = prepared.parts[0].rows
    assert sum(part.rows for part in prepared.parts) == len(prepared.train) > first > 0
    ids = prepared.train["input_ids"]
    for part, rows in zip(prepared.parts, (ids[:first], ids[first:]), strict=True):
        assert part.tokens == sum(map(len, rows))
        text = "".join(tokenizer.decode(row) for row in rows).lower()
        name, other = ("pears", "plums") if part is prepared.parts[0] else ("plums", "pears")
        assert name in text
        # Noise may spell a pear like a plum, but not often.
        assert text.count(other) * 20 < text.count(name)


def test_shares_change_neither_rows_nor_the_tokenizer(tmp_path: Path, tokenizer: Tokenizer) -> None:
    one = write(tmp_path)
    before, folder = prepare(one, tokenizer, tmp_path / "cache").fingerprint, tokenizer_location(one)
    other = write(tmp_path, weight="[[0, 1], [1, 0]]")
    assert prepare(other, tokenizer, tmp_path / "cache").fingerprint == before
    assert tokenizer_location(other) == folder


def test_a_tokenizer_is_trained_on_all_sources(tmp_path: Path) -> None:
    texts = list(training_texts(write(tmp_path)))
    assert len(texts) == 72
    assert {text.split()[0] for text in texts} == {"Pears", "Plums"}
