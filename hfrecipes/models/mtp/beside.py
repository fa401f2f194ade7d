"""The heads that lie beside a saved model, as their file says in its header. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "mtp_heads.safetensors"
# The word of the file's header under which it says what its heads are.
WORD = "mtp"


def heads_beside(folder: Path) -> dict[str, Any] | None:
    """What the heads in a model's folder are, as `heads` and `num_future_tokens`; None where it holds none.

    Raises:
        ValueError: the file is damaged, or does not say.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            said = (file.metadata() or {}).get(WORD)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is cut short or damaged: {error}") from None
    if said is None:
        raise ValueError(f"{path} does not say what its heads are")
    return json.loads(said)


def spoken(facts: dict[str, Any]) -> str:
    """Kind and number of heads, in words."""
    return f"{facts['heads']} heads for {facts['num_future_tokens']} tokens"
