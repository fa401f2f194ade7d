from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.cli.main import main

pytest.importorskip("sklearn")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, words in (("sea.jsonl", "ship wave harbour"), ("hill.jsonl", "goat cliff meadow")):
        rows = [{"body": f"{words} number {number} and {words}"} for number in range(60)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_classifier_is_trained_and_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "classifier", "made", "hill=hill.jsonl:body", "sea=sea.jsonl:body"]) == 0
    assert (files / "made" / "linear_classifier.safetensors").is_file()
    said = capsys.readouterr().out
    assert "texts: 60 hill, 60 sea" in said
    assert "100.0% right; by label: hill 100.0%, sea 100.0%" in said


@pytest.mark.parametrize(
    ("sources", "fault"),
    [
        (["hill"], "hill: error: is not LABEL=SOURCE"),
        (["=x", "a=b"], "=x: error: is not LABEL=SOURCE"),
        (["hill=none.jsonl", "sea=sea.jsonl:body"], "classifier: hill: error: none.jsonl does not exist"),
        (["hill=hill.jsonl:text", "sea=sea.jsonl:body"], "there is no column 'text'"),
    ],
)
def test_what_cannot_be_read_is_named(
    files: Path, capsys: pytest.CaptureFixture[str], sources: list[str], fault: str
) -> None:
    assert main(["data", "classifier", "made", *sources]) == 2
    assert fault in capsys.readouterr().err
    assert not (files / "made").exists()


def test_a_file_is_not_taken_for_a_folder_and_that_is_told_before_training(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "classifier", "sea.jsonl", "hill=gone.jsonl", "sea=sea.jsonl:body"]) == 2
    assert "sea.jsonl: error: is a file, and the classifier is a folder" in capsys.readouterr().err


def test_texts_under_two_labels_are_counted_and_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "classifier", "made", "hill=sea.jsonl:body", "sea=sea.jsonl:body"]) == 0
    assert "! 60 texts stand under more than one label" in capsys.readouterr().out
    assert main(["data", "classifier", "made", "hill=hill.jsonl:body", "sea=sea.jsonl:body"]) == 0
    assert "more than one label" not in capsys.readouterr().out
