"""`hfrecipes card lint` on folders that have no card of their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfrecipes.cli.main import main
from hfrecipes.recipe.rundir import RunDir


def test_a_pipelines_steps_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [{"name": name, "kind": "sft", "run": name} for name in ("base", "own")]
    RunDir(tmp_path).write_facts({"name": "all", "kind": "pipeline", "steps": steps})
    assert main(["card", "lint", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"give one of {tmp_path / 'base'}, {tmp_path / 'own'}" in said
