"""Dotted keys of a recipe: flattened, compared, put into words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any


def flatten(value: Any, key: str = "") -> dict[str, Any]:
    """Nested dicts and lists as one dict by dotted key."""
    if not isinstance(value, dict | list) or not value:
        return {key: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    parts = [flatten(item, f"{key}.{inner}" if key else str(inner)) for inner, item in items]
    return {name: leaf for part in parts for name, leaf in part.items()}


def begins(key: str, prefixes: Sequence[str]) -> bool:
    """Whether a key is one of these or below it; a prefix that ends in `_` stands for all keys that begin so."""
    return any(key == prefix or key.startswith(prefix if prefix[-1] == "_" else f"{prefix}.") for prefix in prefixes)


def is_allowed(key: str, allowed: Sequence[str]) -> bool:
    """Whether a key is one of those that were allowed to differ, or below one."""
    return any(key == name or key.startswith(f"{name}.") for name in allowed)


def change_words(key: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    """`key was A, is B`, as JSON writes them."""

    def shown(values: dict[str, Any]) -> str:
        return json.dumps(values[key], ensure_ascii=False, default=str) if key in values else "absent"

    return f"{key} was {shown(old)}, is {shown(new)}"
