"""What was started is what was asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes.recipe.loader import check_words
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.stages.processes import Processes, refuse_fewer_processes, refuse_other_precision

ONE, TWO = Processes(0, 0, 1), Processes(1, 1, 2)


@pytest.mark.parametrize("flag", ["--num_processes", "--num-processes"])
def test_fewer_processes_are_refused(flag: str) -> None:
    command = ["python", "/bin/accelerate", "launch", "--cpu", flag, "2", "-m", "hfrecipes", "x.yaml"]
    with pytest.raises(RecipeError, match="2 processes were asked for, 1 started"):
        refuse_fewer_processes(ONE, command)
    refuse_fewer_processes(TWO, command)


@pytest.mark.parametrize("command", ["bash", "", "python -m pytest --num_processes 2", "accelerate launch -m x"])
def test_other_parents_ask_for_nothing(command: str) -> None:
    refuse_fewer_processes(ONE, command.split())


@pytest.mark.parametrize(
    ("launched", "training", "good"),
    [
        ("no", {}, True),
        ("bf16", {"bf16": True}, True),
        ("bf16", {"bf16": False}, False),
        ("fp16", {"bf16": True}, False),
    ],
)
def test_the_launchers_precision_is_the_recipes(
    launched: str, training: dict, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    values = {"kind": "sft", "model": {"name_or_path": "x"}, "data": {}, "training": training}
    recipe = check_words(values, Path("x.yaml"))
    if good:
        refuse_other_precision(recipe)
    else:
        with pytest.raises(RecipeError, match=launched):
            refuse_other_precision(recipe)
