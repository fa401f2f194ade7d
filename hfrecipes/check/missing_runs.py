"""Which recipe makes a run that another one begins from, and that is not there yet."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.shipped import shipped_recipes

_NAME = re.compile(r"^name:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)


def maker_of(folder: Path, recipe: Recipe) -> str | None:
    """How a folder that is missing is made: `run hfrecipes run tour/base first`; None where no recipe says so.

    Args:
        folder: A run directory, or the model in one.
        recipe: What names it; recipes beside it count before shipped ones.
    """
    wanted = folder.parent.name if folder.name == "model" else folder.name
    shipped = shipped_recipes()
    beside = [path for path in shipped.values() if path.parent == recipe.path.resolve().parent]
    known = [*sorted(recipe.path.parent.glob("*.yaml")), *beside, *shipped.values()]
    made_by = (path for path in known if path.resolve() != recipe.path.resolve() and _run_name(path) == wanted)
    if (path := next(made_by, None)) is None:
        return None
    name = next((name for name, file in shipped.items() if file.resolve() == path.resolve()), str(path))
    return f"run `hfrecipes run {name}` first, which makes it"


def _run_name(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if said := _NAME.search(path.read_text(encoding="utf-8")):
            return said[1]
    return path.stem
