"""What stands between a person and an answer is fast: CPU seconds, not wall seconds, which other processes share."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

WITHOUT_TORCH = """
import sys
from hfrecipes.cli.main import main
try:
    status = main({arguments!r})
except SystemExit as end:
    status = end.code
sys.exit("torch was imported" if "torch" in sys.modules else status)
"""


def cpu_seconds(command: list[str], folder: Path, status: int = 0) -> float:
    """Of the fastest of three runs: caches are warm, and a noisy neighbour is not counted."""
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert result.returncode == status, result.stderr
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def hfrecipes(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hfrecipes", *arguments]


def test_help_costs_half_of_trls(tmp_path: Path) -> None:
    ours = cpu_seconds(hfrecipes("--help"), tmp_path)
    theirs = cpu_seconds([str(Path(sys.executable).with_name("trl")), "--help"], tmp_path)
    assert ours <= theirs / 2


@pytest.mark.parametrize("arguments", [["--help"], ["ls"], ["show", "tour/base"], ["check", "tour/base"]])
def test_no_torch(arguments: list[str], tmp_path: Path) -> None:
    code = WITHOUT_TORCH.format(arguments=arguments)
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_words_cost_less_than_a_second(tmp_path: Path) -> None:
    assert cpu_seconds(hfrecipes("check", "--words", "tour/base"), tmp_path) < 1


def test_the_whole_check_costs_less_than_four_seconds(tmp_path: Path) -> None:
    assert cpu_seconds(hfrecipes("check", "tour/base"), tmp_path) < 4


def test_every_verb_has_help_with_an_example(tmp_path: Path) -> None:
    from hfrecipes.cli.main import VERBS

    for verb in (*VERBS, "card lint", "data preview"):
        if verb in ("card", "data"):
            continue  # they only lead to verbs of their own
        result = subprocess.run(
            hfrecipes(*verb.split(), "--help"), cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        assert f"hfrecipes {verb} " in result.stdout.split("usage:")[1].partition("\n\n")[2], verb


def test_no_verb_prints_the_help(tmp_path: Path) -> None:
    result = subprocess.run(hfrecipes(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "first steps" in result.stdout
