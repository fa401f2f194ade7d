"""`format: parallel_text:pair` of `mix-linly.yaml`: a row of a translation data set as one text."""

from __future__ import annotations

from typing import Any


def pair(row: dict[str, Any]) -> str:
    """Both languages of `{"translation": {"en": ..., "zh": ...}}`, one line each, the first one first."""
    return "\n".join(row["translation"].values())
