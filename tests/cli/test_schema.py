"""`hfrecipes schema`: what editors are given is what recipes are held against."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfrecipes.cli import main
from hfrecipes.recipe.schema import load_schema


def test_what_is_printed_is_the_schema_of_the_loader(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == load_schema()


def test_output_writes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "recipe.schema.json"
    assert main.main(["schema", "--output", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert json.loads(file.read_text(encoding="utf-8")) == load_schema()
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_does_not_exist_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["schema", "--output", str(tmp_path / "none" / "f.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err
