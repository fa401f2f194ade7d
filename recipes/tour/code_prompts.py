"""Functions that stop before a statement, for a model to go on with them, and a reward for going on: of tour/ppo."""

from __future__ import annotations

import ast
import random
import re
import warnings
import zlib
from typing import Any

_FENCED = re.compile(r"```python\n(.*?)```", re.DOTALL)


def unfinished(row: dict[str, Any]) -> dict[str, str]:
    """The beginning of the function in a row of `python_docstrings`, up to one of its statements; the same one each time.

    Args:
        row: Its `prompt` is a question with the function in it.

    Returns:
        The `prompt`, which ends with the end of a line.
    """
    (code,) = _FENCED.findall(row["prompt"][-1]["content"])
    lines = code.splitlines(keepends=True)
    (function,) = ast.parse(code).body
    inside = {node.lineno for node in ast.walk(function) if isinstance(node, ast.stmt)} - {function.lineno}
    # A body on the line of its `def` leaves no line to stop at.
    starts = sorted(line for line in inside if line > function.lineno) or [len(lines) + 1]
    draw = random.Random(zlib.crc32(code.encode()))
    return {"prompt": "".join(lines[: draw.choice(starts) - 1])}


def still_python(prompts: list[str], completions: list[str], **columns: Any) -> list[float]:
    """1 where prompt and completion together are Python and the completion is more than a comment.

    It comes far sooner than the reward for statements that say something, and shows the way to it.

    Args:
        prompts: The code before.
        completions: What was written.
        columns: Not looked at.
    """
    return [float(_goes_on(*pair)) for pair in zip(prompts, completions, strict=True)]


def _goes_on(before: str, added: str) -> bool:
    if not added.strip() or added.strip().startswith("#"):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(before + added)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
