"""Hashes that are the same in every process and version of Python, unlike the built-in one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Shares of 90, 5 and 5 % of the space of keys, end by end.
_SPLIT_ENDS = (("train", 0.90), ("validation", 0.95), ("test", 1.0))
SPLITS = tuple(name for name, _ in _SPLIT_ENDS)


def stable_key(text: str) -> int:
    """A number in [0, 2**64) that depends on the text only."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def content_key(values: dict[str, Any]) -> int:
    """The key of a row's content, whatever the order of its columns."""
    return stable_key(json.dumps(values, sort_keys=True, ensure_ascii=False, default=str))


def split_of(key: int) -> str:
    """The split that a key belongs to: train 90 %, validation 5 %, test 5 %.

    It depends on nothing but the key, so a row keeps its split when others come and go, and equal rows share one.
    """
    share = key / 2**64
    return next(name for name, end in _SPLIT_ENDS if share < end or end == 1.0)


def sha256_of_texts(texts: Iterable[str]) -> str:
    """`sha256:` and the digest of the texts, each set apart from the next."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return f"sha256:{digest.hexdigest()}"


def sha256_of_files(files: Iterable[tuple[str, Path]]) -> str:
    """`sha256:` and the digest of the files' names and bytes.

    Args:
        files: A name that does not depend on the machine, and the file.
    """
    parts = []
    for name, path in files:
        with path.open("rb") as file:
            parts.append(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}")
    return sha256_of_texts(parts)
