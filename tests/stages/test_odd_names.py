"""Files, folders and runs whose names look like the markup of the library that prints them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.cli.main import main
from hfrecipes.recipe.problem import Problem
from tests.stages.conftest import BASE

FILES = {"[red]t.jsonl": range(40), "a[/b].jsonl": range(40, 50)}
SOURCES = """  train: [{path: "[red]t.jsonl"}]
  test: [{path: "a[/b].jsonl"}]
"""


@pytest.mark.parametrize("name", ["[x]", "[bold]"])
def test_square_brackets_are_printed_as_they_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "a[").mkdir()
    for file, numbers in FILES.items():
        texts = (f"The number after {n} is {n + 1}, and its square is {n * n}." for n in numbers)
        (tmp_path / file).write_text("\n".join(json.dumps({"text": text}) for text in texts))
    head, _, tail = BASE.partition("  train:")
    rest = tail[tail.index("  context_length") :].replace("512", "64")
    (tmp_path / "own.yaml").write_text(head + SOURCES + rest)
    words = ["run", "own.yaml", f"name='{name}'", "training.max_steps=1", "--runs-dir", "r[/x]"]
    assert main(words) == 0
    told = capsys.readouterr()
    assert f"r[/x]/{name}: model model/" in told.out
    assert f"pretrain {name}: step 1/1" in told.err
    assert "a[/b].jsonl" in told.out and "measuring the tuned model on a[/b].jsonl" in told.err
    assert main([*words, "--resume"]) == 0
    assert f"r[/x]/{name} is complete" in capsys.readouterr().err


def test_steps_of_a_pipeline_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its steps are named by words alone; the folder it lies in is not."""
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "all.yaml").write_text("kind: pipeline\nsteps: [{name: one, recipe: base.yaml}]\n")
    assert main(["run", str(tmp_path / "all.yaml"), "--smoke", "--runs-dir", str(tmp_path / "r[/x]")]) == 0
    told = capsys.readouterr()
    assert "step 1 of 1: one (pretrain)" in told.err
    assert "r[/x]/all-smoke/one: model model/" in told.out.replace("\n", "")


TOKEN = "hf_" + "Standin" * 5


@pytest.mark.parametrize("words", [["check", TOKEN], ["run", TOKEN], ["run", "x.yaml", f"--{TOKEN}"]])
def test_a_token_on_the_command_line_is_not_repeated(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A word in the wrong place is the first that is told of."""
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    told = capsys.readouterr()
    assert status == 2
    assert "<redacted: a Hugging Face token>" in told.out + told.err
    assert TOKEN not in told.out + told.err


def test_a_token_in_the_place_of_the_runs_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    words = ["run", str(tmp_path / "base.yaml"), "--smoke", "--runs-dir", str(tmp_path / TOKEN)]
    assert main(words) == 0 and main([*words, "--resume"]) == 0
    told = capsys.readouterr()
    assert "<redacted: a Hugging Face token>/base-smoke: model model/" in told.out.replace("\n", "")
    assert TOKEN not in (told.out + told.err).replace("\n", "")


def test_what_a_terminal_would_obey_is_shown_in_a_problem() -> None:
    told = str(Problem("a\x1b[2Jb.jsonl:1", "holds '\x9b31m'\tand\nmore", "\u202eturn it"))
    assert told == "a\\x1b[2Jb.jsonl:1: error: holds '\\x9b31m'\tand\nmore (\\u202eturn it)"
