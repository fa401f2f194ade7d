"""The preview against the rows that training reads."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from hfrecipes.cli import data as data_verb
from hfrecipes.cli import plan as plan_verb
from hfrecipes.data.encode import IGNORED
from hfrecipes.data.prepare import prepare
from hfrecipes.plan.lengths import source_lengths
from hfrecipes.plan.preview import (
    PreviewRow,
    SourcePreview,
    label_tokens,
    preview_sources,
    print_previews,
    render_row,
)
from hfrecipes.plan.sample import draw, sample_sources
from hfrecipes.plan.units import count, duration, gib
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.resolve import resolve
from hfrecipes.tokenization.tokenizer import Tokenizer

CPU = Hardware("cpu", "a processor", 1, 16 * 2**30, False, False)


@pytest.fixture
def sft(tiny_configs: dict[str, dict], tokenizer_folder: Path, data_file: Path) -> dict:
    return {
        "kind": "sft",
        "model": {"config": tiny_configs["llama"] | {"vocab_size": 400}, "tokenizer": str(tokenizer_folder)},
        "data": {"train": [{"path": data_file.name}]},
        "training": {"global_batch_size": 16, "num_train_epochs": 1, "max_length": 64},
    }


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    plan_verb.add_parser(subparsers)
    data_verb.add_parser(subparsers)
    args = parser.parse_args(arguments)
    return args.command(args)


def test_shows_what_trains(sft: dict, write_recipe: Callable[..., Recipe], tokenizer_folder: Path) -> None:
    recipe, tokenizer = resolve(write_recipe(sft), CPU), Tokenizer.load(tokenizer_folder)
    (preview,) = preview_sources(recipe, sample_sources(recipe), tokenizer, 60)
    train = prepare(recipe, tokenizer).train
    assert len(preview.rows) == len(train) == preview.sampled
    for shown, row in zip(preview.rows, train, strict=True):
        assert "".join(text for text, _ in shown.tokens) == tokenizer.decode(row["input_ids"])
        assert [carries for _, carries in shown.tokens] == [label != IGNORED for label in row["labels"]]
    supervised = sum(label != IGNORED for row in train for label in row["labels"])
    assert preview.supervised_share == supervised / sum(len(row["input_ids"]) for row in train)
    assert "".join(text for text, carries in preview.rows[7].tokens if carries) == " Answer: 14.<|endoftext|>"


def test_truncation_is_told(sft: dict, write_recipe: Callable[..., Recipe], tokenizer_folder: Path) -> None:
    whole = Tokenizer.load(tokenizer_folder).encode_ids(["Question 7: what is 7 and 7?", " Answer: 14."])
    sft["training"]["max_length"] = len(whole[0]) + 1
    recipe, tokenizer = resolve(write_recipe(sft), CPU), Tokenizer.load(tokenizer_folder)
    (preview,) = preview_sources(recipe, sample_sources(recipe), tokenizer, 1)
    facts = prepare(recipe, tokenizer).facts[0]
    assert preview.truncated_rows == facts["truncated_rows"] == 60
    assert preview.dropped_rows == facts["dropped_rows"]
    assert preview.supervised_share == facts["supervised_tokens"] / facts["tokens"]
    tokens = sum(
        map(len, tokenizer.encode_ids([f"Question {n}: what is {n} and {n}? Answer: {2 * n}." for n in range(60)]))
    )
    # Each row has its end, too.
    assert preview.truncated_share == pytest.approx(facts["truncated_tokens"] / (tokens + 60))


def test_what_is_left_out_whole_is_not_shown(
    sft: dict, write_recipe: Callable[..., Recipe], tokenizer_folder: Path, tmp_path: Path
) -> None:
    """A pair that is too long for a reward model has no token left; it may stand first."""
    pairs = [{"prompt": "What? ", "chosen": word, "rejected": "No."} for word in ("Yes. " * 400, "Yes.")]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    recipe = resolve(write_recipe(sft | {"kind": "reward", "data": {"train": [{"path": "pairs.jsonl"}]}}), CPU)
    tokenizer, out = Tokenizer.load(tokenizer_folder), io.StringIO()
    sampled = sample_sources(recipe)
    (preview,) = preview_sources(recipe, sampled, tokenizer, 1)
    assert [row.where.rpartition("/")[2] for row in preview.rows] == ["pairs.jsonl:2"]
    assert preview.dropped_rows == preview.truncated_rows == 1
    print_previews(Console(file=out), [preview], 64)
    assert "1 of them keep nothing" in " ".join(out.getvalue().split())
    # What `max_length` speaks of is an answer with its prompt, not the pair.
    (lengths,) = source_lengths(recipe, sampled, tokenizer)
    whole = tokenizer.encode_ids(["What? Yes."])
    assert lengths.lengths[1] == len(whole[0]) + 1 and lengths.above(64) == 0.5


def test_prompts_carry_no_loss_and_none_is_spoken_of() -> None:
    out = io.StringIO()
    row = PreviewRow("a/train", "a:1", [("Why", False)])
    print_previews(Console(file=out), [SourcePreview("a/train", [row], 1, 0.0, 0.0, 0, prompts=True)], None)
    assert "answers, which carry loss, are drawn" in out.getvalue()
    assert "(1 tokens)" in out.getvalue() and "a/train: prompts (sample of 1 rows)" in out.getvalue()


def test_packed_rows(sft: dict, write_recipe: Callable[..., Recipe], tokenizer_folder: Path, tmp_path: Path) -> None:
    texts = [f"Text number {n}. " * (n % 5 + 1) for n in range(40)]
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    sft |= {"kind": "pretrain", "data": {"train": [{"path": "text.jsonl"}], "context_length": 16}}
    del sft["training"]["max_length"]
    recipe, tokenizer = resolve(write_recipe(sft), CPU), Tokenizer.load(tokenizer_folder)
    (preview,) = preview_sources(recipe, sample_sources(recipe), tokenizer, 1000)
    train = prepare(recipe, tokenizer).train
    assert len(preview.rows) == len(train)
    for shown, row in zip(preview.rows, train, strict=True):
        text = "".join(text for text, _ in shown.tokens)
        assert text == tokenizer.decode(row["input_ids"])
        carries = [index > 0 and label != IGNORED for index, label in enumerate(row["labels"])]
        assert [flag for _, flag in shown.tokens] == carries
        # The row begins with, or inside, the document that is named.
        document = texts[int(shown.where.rpartition(":")[2]) - 1] + "<|endoftext|>"
        assert text.split("<|endoftext|>")[0] in document


def test_a_character_over_several_tokens_stays_whole(tokenizer_folder: Path) -> None:
    tokenizer = Tokenizer.load(tokenizer_folder)
    text = "naïve 模型 🙂 ends"
    (ids,) = tokenizer.encode_ids([text])
    tokens = label_tokens(ids, ids, tokenizer)
    assert len(tokens) == len(ids)
    assert "".join(piece for piece, _ in tokens) == text
    assert [carries for _, carries in tokens] == [False] + [True] * (len(ids) - 1)


def test_brackets_and_line_ends() -> None:
    row = PreviewRow("source", "file:1", [("Say", False), (" it\n", False), ("Hi", True), ("<|im_end|>", True)])
    assert render_row(row, brackets=True).plain == "Say it⏎\n【Hi<|im_end|>】"
    assert render_row(row, brackets=False).plain == "Say it⏎\nHi<|im_end|>"
    assert row.supervised_share == 0.5
    long = PreviewRow("source", "file:1", [("x", False)] * 500 + [("y", True)])
    assert "380 more tokens" in render_row(long, brackets=True).plain


@pytest.mark.parametrize("no_color", [False, True])
def test_colour_where_there_is_some(no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    from hfrecipes.plan.preview import SourcePreview

    row = PreviewRow("source", "file:1", [("Say", False), ("Hi", True)])
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="truecolor")
    print_previews(console, [SourcePreview("source", [row], 1, 0.5, 0.0, 0)], 64)
    assert ("【Hi】" in out.getvalue()) is no_color
    assert ("\x1b[1;32mHi" in out.getvalue()) is not no_color


def test_the_sample_is_even(sft: dict, write_recipe: Callable[..., Recipe]) -> None:
    (sampled,) = sample_sources(resolve(write_recipe(sft), CPU), size=20)
    assert sampled.total == 60 and len(sampled.rows) == 20
    lines = [int(row.where.rpartition(":")[2]) for row in sampled.rows]
    assert lines == sorted(set(lines))
    assert max(lines) > 40
    assert draw(sampled.source, {}, 20).rows == sampled.rows
    assert draw(sampled.source, {}, 60).share == 1.0
    texts = [sum(map(len, row.values.values())) for row in sampled.source.rows()]
    drawn = sum(sum(map(len, row.values.values())) for row in sampled.rows)
    assert sampled.share == drawn / sum(texts)


def test_plan_on_the_command_line(
    sft: dict, write_recipe: Callable[..., Recipe], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe = write_recipe(sft)
    out = tmp_path / "plan.json"
    assert run("plan", str(recipe.path), "--gpu", "h100", "--num-gpus", "2", "--json", str(out)) == 0
    shown = capsys.readouterr().out
    plan = json.loads(out.read_text())
    assert plan["parameters"]["total"] == 400 * 64 * 2 + 2 * (3 * 64 * 112 + 2 * 64 * 64 + 2 * 32 * 64 + 2 * 64) + 64
    assert plan["hardware"]["world_size"] == 2
    assert f"{plan['steps']:,} steps" in shown and "989 TFLOP/s" in shown
    assert "【" in shown and "tokens carry loss" in shown
    assert run("plan", str(recipe.path), "--json", "-") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == plan["steps"]


def test_data_preview_on_the_command_line(
    sft: dict, write_recipe: Callable[..., Recipe], capsys: pytest.CaptureFixture
) -> None:
    recipe = write_recipe(sft)
    assert run("data", "preview", str(recipe.path), "--rows", "2") == 0
    assert capsys.readouterr().out.count("】") == 3  # the legend and two rows
    assert run("data", "preview", str(recipe.path), "model.tokenizer={vocab_size: 320}") == 0
    shown = capsys.readouterr().out
    assert "trained when the recipe first runs" in shown and "Answer: " in shown
    assert run("data", "preview", str(recipe.path), "model.tokenizer=someone/not-cached") == 0
    shown = capsys.readouterr().out
    assert "unchecked" in shown and "Answer: " in shown


def test_a_pipeline_has_no_data_of_its_own(write_recipe: Callable[..., Recipe]) -> None:
    recipe = write_recipe({"kind": "pipeline", "steps": [{"name": "one", "recipe": "one.yaml"}]})
    with pytest.raises(RecipeError, match="one step"):
        run("data", "preview", str(recipe.path))


def test_units() -> None:
    assert [count(number) for number in (812, 12_300, 999_950, 4.56e6, 7.89e9, 1.2e12)] == [
        *("812", "12.3K", "1,000K", "4.56M", "7.89B", "1.20T")
    ]
    assert gib(40 * 2**30) == "40.0 GiB" and gib(2**20) == "1.0 MiB"
    assert [duration(hours) for hours in (0.001, 0.5, 5, 100)] == [
        *("4 seconds", "30 minutes", "5.0 hours", "100 hours (4.2 days)")
    ]
