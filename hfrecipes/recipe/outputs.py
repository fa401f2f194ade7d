"""Whether a folder that a command is told to write can be written, before the work that would be lost."""

from __future__ import annotations

import os
from pathlib import Path

from hfrecipes.recipe.problem import Problem, RecipeError

# What most file systems allow, less what is put before and behind a name while it is written.
_LONGEST_NAME = 200


def refuse_unwritable(out: Path) -> None:
    """Looks whether a folder that is not there yet can be made, and makes nothing.

    Args:
        out: The folder.

    Raises:
        RecipeError: it exists, lies under a file, or in a folder that may not be written to; or its name is too long.
    """
    fix = "give another folder"
    if len(os.fsencode(out.name)) > _LONGEST_NAME:
        raise RecipeError(
            Problem(f"{str(out)[:60]}…", f"has a name of {len(out.name)} characters", "give a shorter one")
        )
    if os.path.lexists(out):
        raise RecipeError(Problem(str(out), "exists already", "remove it, or give another folder"))
    above = next(path for path in out.absolute().parents if os.path.lexists(path))
    if not above.is_dir():
        raise RecipeError(Problem(str(out), f"cannot be made: {above} is a file", fix))
    if not os.access(above, os.W_OK | os.X_OK):
        raise RecipeError(Problem(str(out), f"cannot be made: {above} may not be written to", fix))
