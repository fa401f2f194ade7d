"""Finds what must never leave the machine: access tokens and private keys, by their form and by their value here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

_FORMS = {
    "a Hugging Face token": rb"(?<![A-Za-z0-9_])(?:hf|api_org)_[A-Za-z0-9]{30,}",
    "an API key (sk-…)": rb"(?<![A-Za-z0-9_-])sk-(?:[a-z]+\d*-)*[A-Za-z0-9_]{20,}",
    "an AWS access key": rb"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9])",
    "a GitHub token": rb"(?<![A-Za-z0-9_])(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    "a Google API key": rb"(?<![A-Za-z0-9])AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])",
    "a Slack token": rb"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{20,}",
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
}
_PATTERNS = {name: re.compile(form) for name, form in _FORMS.items()}

# A value shorter than this could be a word that the text holds by accident.
_SHORTEST_VALUE = 16
_SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|API_?KEY|ACCESS_?KEY)$", re.IGNORECASE)


def find_secrets(content: bytes) -> list[tuple[int, str]]:
    """Line and kind of every secret in a text, in order of lines. The secret itself is never returned.

    Args:
        content: The text in UTF-8.
    """
    found = {
        (_line(content, match.start()), kind) for kind, form in _PATTERNS.items() for match in form.finditer(content)
    }
    for name, value in _secrets_here():
        place = content.find(value)
        if place >= 0:
            found.add((_line(content, place), f"the value of {name}"))
    return sorted(found)


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


def _secrets_here() -> Iterator[tuple[str, bytes]]:
    """Secrets that this process could leak whatever their form: from its environment and the client's store."""
    for name, value in os.environ.items():  # a path to a key is not the key
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_VALUE and not value.startswith("/"):
            yield name, value.encode()
    from huggingface_hub import get_token

    token = get_token()
    if token and len(token) >= _SHORTEST_VALUE:
        yield "the Hub token of this machine", token.encode()
