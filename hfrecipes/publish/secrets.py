"""Finds what must never leave the machine in the files of a publication, by line."""

from __future__ import annotations

from hfrecipes.recipe import secrets
from hfrecipes.recipe.problem import Problem, RecipeError


def find_secrets(content: bytes) -> list[tuple[int, str]]:
    """Line and kind of every secret in a text, in order of lines. The secret itself is never returned.

    Args:
        content: The text in UTF-8, UTF-16 or UTF-32.
    """
    # Without its zeros, text in UTF-16 or UTF-32 has the bytes of ASCII where it is ASCII, as secrets are.
    readings = [content, content.replace(b"\0", b"")] if b"\0" in content else [content]
    found = set()
    for text in (reading.decode("utf-8", errors="replace") for reading in readings):
        found |= {(text.count("\n", 0, place) + 1, kind) for place, kind in secrets.find_secrets(text)}
    return sorted(found)


def refuse_secret_words(**words: str | None) -> None:
    """Refuses words that the Hub would show, such as the message of a commit.

    Args:
        words: What each is called on the command line, and the word; None where none was said.

    Raises:
        RecipeError: naming those that hold a secret, and its kind.
    """
    fix = "take it out, and revoke it: your shell may have kept it"
    found = [(name, kind) for name, word in words.items() for _, kind in secrets.find_secrets(word or "")]
    if found:
        problems = [
            Problem(f"--{name.replace('_', '-')}", f"holds {kind}, and would be public", fix) for name, kind in found
        ]
        raise RecipeError(problems)
