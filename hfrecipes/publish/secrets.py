"""Finds what must never leave the machine in the files of a publication, by line."""

from __future__ import annotations

from hfrecipes.recipe import secrets


def find_secrets(content: bytes) -> list[tuple[int, str]]:
    """Line and kind of every secret in a text, in order of lines. The secret itself is never returned.

    Args:
        content: The text in UTF-8.
    """
    text = content.decode("utf-8", errors="replace")
    return sorted({(text.count("\n", 0, place) + 1, kind) for place, kind in secrets.find_secrets(text)})
