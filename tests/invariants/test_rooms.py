"""Imports run down the list of rooms and never back."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hfrecipes

PACKAGE = Path(hfrecipes.__file__).parent
# A room may import those after it in this list. `compat` is the cellar: everyone may go down, it leads nowhere.
ROOMS = (
    "cli",
    "stages",
    "publish",
    "plan",
    "check",
    "trainers",
    "callbacks",
    "rewards",
    "evaluation",
    "models",
    "objectives",
    "data",
    "tokenization",
    "recipe",
    "compat",
)


def room_of(module: str) -> str:
    return module.split(".")[1]


def imports_of(file: Path) -> list[tuple[int, str]]:
    """Line and name of every module of the package that a file imports, also inside functions."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            pytest.fail(f"{file}:{node.lineno}: relative import; write the whole name")
    return [(line, name) for line, name in found if name.startswith("hfrecipes.")]


def test_every_folder_is_a_room() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE}
    assert folders - {"_shipped"} <= set(ROOMS)


def test_imports_run_one_way() -> None:
    wrong = []
    for file in PACKAGE.rglob("*.py"):
        inside = file.relative_to(PACKAGE)
        if len(inside.parts) == 1 and inside.stem != "compat":
            continue  # __init__ and __main__ stand before the door
        room = inside.parts[0].removesuffix(".py")
        for line, name in imports_of(file):
            if ROOMS.index(room_of(name)) < ROOMS.index(room):
                wrong.append(f"{inside}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_imports_are_found() -> None:
    """The test above would pass on an empty list too."""
    names = {name for file in PACKAGE.rglob("*.py") for _, name in imports_of(file)}
    assert "hfrecipes.recipe.loader.Recipe" in names or len(names) > 50


# They stand between a person and an answer.
LIGHT = (
    "cli.main",
    "recipe.loader",
    "recipe.pipeline",
    "check.check",
    "plan.plan",
    "publish.report",
    "data.prepare",
    "rewards.load",
    "stages.run",
)
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "pandas", "matplotlib")
PROBE = """
import sys
for name in {light!r}:
    __import__("hfrecipes." + name)
sys.exit(" ".join(name for name in {heavy!r} if name in sys.modules) or 0)
"""


def test_light_rooms_import_nothing_heavy() -> None:
    code = PROBE.format(light=LIGHT, heavy=HEAVY)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
