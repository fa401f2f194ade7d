"""What must never be written or sent: access tokens and private keys, known by their form and by their value here.

The one place that knows them. The loader refuses them, problems and the run directory leave them out, and a publication is
stopped by them. No function here returns a secret.
"""

from __future__ import annotations

import configparser
import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

_FORMS = {
    "a Hugging Face token": r"(?:hf|api_org)_[A-Za-z0-9]{30,}|hf_(?:oauth|jwt)_[A-Za-z0-9_.-]{20,}",
    "an API key (sk-…)": r"(?<![A-Za-z0-9_-])sk-(?:[a-z]+\d*-)*[A-Za-z0-9_]{20,}",
    "an AWS access key": r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9])",
    "a GitHub token": r"(?<![A-Za-z0-9_])(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})",
    "a Google API key": r"(?<![A-Za-z0-9])AIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])",
    "a Slack token": r"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{20,}",
    # The whole block where it is at hand; its first line alone gives it away, too.
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:[^-]*-----END (?:[A-Z]+ )*PRIVATE KEY-----)?",
}
_PATTERNS = {kind: re.compile(form) for kind, form in _FORMS.items()}

_SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|API_?KEY|ACCESS_?KEY)$", re.IGNORECASE)
# A value shorter than this could be a word that the text holds by accident (BOS_TOKEN, PAD_TOKEN); what the Hub's client
# sends is a secret at any length that is not a word.
_SHORTEST_VALUE = 16
_CLIENT_NAMES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_SHORTEST_OF_CLIENT = 8
_IN_STORE = "the Hub token of this machine"

Known = tuple[tuple[str, str], ...]


def find_secrets(text: str) -> list[tuple[int, str]]:
    """Place (index of the first character) and kind of every secret in a text, in order. The secret is not returned."""
    found = [(match.start(), kind) for kind, form in _PATTERNS.items() for match in form.finditer(text)]
    found += [(place, kind) for kind, written in _known_here() if (place := text.find(written)) >= 0]
    return sorted(found)


def redact(text: str) -> str:
    """The text with `<redacted: a Hugging Face token>` and the like where a secret stood."""
    return _redacted(text, _known_here())


def redact_values(value: Any) -> Any:
    """`redact` for every string in nested dicts, lists and tuples, keys included; what else there is stays as it is."""
    return _redacted_values(value, _known_here())


def _redacted_values(value: Any, known: Known) -> Any:
    if isinstance(value, str):
        return _redacted(value, known)
    if isinstance(value, dict):
        return {_redacted_values(key, known): _redacted_values(item, known) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted_values(item, known) for item in value]
    return value


def _redacted(text: str, known: Known) -> str:
    # Values first: a form may cover a part of one only, and leave the rest standing.
    for kind, written in known:
        if written in text:
            text = text.replace(written, f"<redacted: {kind}>")
    for kind, form in _PATTERNS.items():
        text = form.sub(f"<redacted: {kind}>", text)
    return text


def _known_here() -> Known:
    """Secrets that this process could leak whatever their form, the longest first, as they may be written."""
    from huggingface_hub import constants

    stores = (constants.HF_TOKEN_PATH, constants.HF_STORED_TOKENS_PATH)
    return _known(tuple(os.environ.items()), tuple((path, _changed(path)) for path in stores))


def _changed(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116  a Path costs more than the question
    except OSError:
        return None


@lru_cache(maxsize=1)
def _known(environment: tuple[tuple[str, str], ...], stores: tuple[tuple[str, int | None], ...]) -> Known:
    values: dict[str, str] = {}
    for value in _stored([path for path, changed in stores if changed is not None]):
        if len(value) >= _SHORTEST_OF_CLIENT:
            values[value] = _IN_STORE
    for name, raw in environment:
        value = raw.strip()
        if _SECRET_NAME.search(name) and _is_secret(name, value):
            values[value] = f"the value of {name}"
    written = {form: kind for value, kind in values.items() for form in _written(value)}
    return tuple((kind, form) for form, kind in sorted(written.items(), key=lambda entry: -len(entry[0])))


def _is_secret(name: str, value: str) -> bool:
    if name in _CLIENT_NAMES:
        return len(value) >= _SHORTEST_OF_CLIENT
    # A path to a key is not the key, which itself may well begin with a slash.
    return len(value) >= _SHORTEST_VALUE and not _is_path(value)


def _is_path(value: str) -> bool:
    return value.startswith(("/", "~")) and os.path.exists(os.path.expanduser(value))  # noqa: PTH110,PTH111  any text


def _written(value: str) -> set[str]:
    """A value as it stands in text, in JSON and in an address."""
    address = quote(value, safe="", errors="surrogateescape")
    return {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], address}


def _stored(paths: list[str]) -> Iterator[str]:
    """The tokens of the client's store: a file that holds the one in use, and one with all, as an INI file."""
    for path in paths:
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            continue
        if "\n" not in text and not text.startswith("["):
            yield text
            continue
        profiles = configparser.RawConfigParser()
        try:
            profiles.read_string(text)
        except configparser.Error:
            continue
        for section in profiles.sections():
            yield from (value.strip() for key, value in profiles.items(section) if "token" in key)
