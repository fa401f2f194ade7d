"""Data sets of the Hub, by way of `datasets`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from hfrecipes.data.hashing import stable_key
from hfrecipes.data.row import Row, Source
from hfrecipes.recipe.problem import Problem, RecipeError

_COMMIT = re.compile(r"@([0-9a-f]{40})/")


def open_hub(spec: dict[str, Any], where: str) -> Source:
    """A data set of the Hub. It is fetched when first asked for rows, columns or its revision.

    A `limit` of N takes the N rows whose position hashes lowest: rows of a pinned revision do not move, and hashing
    positions spares reading millions of rows for a few.
    """
    name, split, limit = spec["name"], spec.get("split"), spec.get("limit")

    @cache
    def dataset() -> Any:
        return _load(spec, where)

    def read() -> Iterator[Row]:
        data = dataset()
        positions = range(len(data))
        if limit is not None:
            lowest = sorted(positions, key=lambda position: stable_key(str(position)))[:limit]
            positions, data = sorted(lowest), data.select(sorted(lowest))
        return (Row(f"{name}/{data.split}: row {position}", row) for position, row in zip(positions, data, strict=True))

    return Source(name, split, spec.get("license"), False, read, lambda: _revision(dataset(), spec), where)


def _load(spec: dict[str, Any], where: str) -> Any:
    """The data set, with its failures told as problems of the recipe."""
    import datasets

    name, subset, split, revision = (spec.get(key) for key in ("name", "subset", "split", "revision"))
    try:
        data = datasets.load_dataset(name, subset, split=split, revision=revision)
    except (ConnectionError, OSError) as error:
        message = f"{name} can be had neither from the local cache nor from the Hub: {_first_line(error)}"
        fix = "check the name and the network, or name an embedded source such as python_docstrings"
        raise RecipeError(Problem(where, message, fix)) from error
    except (ValueError, RuntimeError) as error:
        raise RecipeError(Problem(where, f"{name}: {_first_line(error)}", "correct subset: or split:")) from error
    if isinstance(data, dict):
        raise RecipeError(Problem(where, f"{name} has the splits {', '.join(data)}", f"say split: {next(iter(data))}"))
    return data


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _revision(data: Any, spec: dict[str, Any]) -> str:
    """The commit that the files came from, else what `datasets` knows the content by."""
    for url in data.info.download_checksums or {}:
        if commit := _COMMIT.search(url):
            return commit[1]
    given = spec.get("revision") or ""
    return given if re.fullmatch(r"[0-9a-f]{40}", given) else f"fingerprint:{data._fingerprint}"
