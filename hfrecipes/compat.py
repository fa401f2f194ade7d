"""The only imports of private or version-bound names of the libraries we stand on. Each has a test."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path


def trl_chat_templates() -> Path | None:
    """The folder of chat templates inside the installed TRL; None where TRL is absent or keeps them elsewhere.

    TRL is not imported: finding a top-level package executes none of its code, and importing it costs seconds.
    """
    spec = find_spec("trl")
    folders = (
        [] if spec is None else [Path(place) / "chat_templates" for place in spec.submodule_search_locations or ()]
    )
    return next((folder for folder in folders if folder.is_dir()), None)
