"""HelpSteer3's rows as rankings of two answers."""

from __future__ import annotations

from typing import Any


def ranking(row: dict[str, Any]) -> dict[str, Any]:
    """A conversation, its two answers and their scores.

    Args:
        row: `overall_preference` goes from -3, the first answer is much better, to 3, the second is; at 0 they are tied.
    """
    answers = [[{"role": "assistant", "content": row[name]}] for name in ("response1", "response2")]
    preference = row["overall_preference"]
    return {"prompt": row["context"], "responses": answers, "scores": [-preference, preference]}
