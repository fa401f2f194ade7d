"""`hfrecipes show`: the file as it stands."""

from __future__ import annotations

import pytest

from hfrecipes.cli import main
from hfrecipes.recipe.shipped import shipped_launchers, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_file_comes_out_byte_for_byte(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["show", name]) == 0
    assert capsys.readouterr().out == shipped_recipes()[name].read_text(encoding="utf-8")


def test_launchers_can_be_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["show", "launchers/fsdp2"]) == 0
    assert capsys.readouterr().out == shipped_launchers()["fsdp2"].read_text(encoding="utf-8")


def test_path_says_where_it_lies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["show", "tour/first", "--path"]) == 0
    assert capsys.readouterr().out == f"{shipped_recipes()['tour/first']}\n"


@pytest.mark.parametrize(
    ("name", "guess"), [("sft/qwen3-0.6-lora", "sft/qwen3-0.6b-lora"), ("launchers/fsdp", "launchers/fsdp2")]
)
def test_a_name_nearly_right_is_put_right(name: str, guess: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["show", name]) == 2
    assert f"did you mean {guess}?" in capsys.readouterr().err


def test_a_name_that_is_nothing_points_to_ls(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["show", "qqqqqq"]) == 2
    assert "hfrecipes ls" in capsys.readouterr().err
