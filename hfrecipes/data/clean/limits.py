"""Figures of a document held against limits: the first one that fails is the verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hfrecipes.data.clean.rule import KEPT, Verdict

EMPTY = Verdict(reason="empty", detail="no text")


class Figure(NamedTuple):
    """A figure of a document and its limit.

    Args:
        threshold: The recipe's word for the limit; one that begins with `min` is a lower limit.
        value: The figure.
        limit: None where the document may have any.
        what: What it is, for people.
    """

    threshold: str
    value: float
    limit: float | None
    what: str


def first_fault(figures: Iterable[Figure]) -> Verdict:
    """The verdict on a document; figures after the first that fails are not worked out if `figures` is a generator."""
    for threshold, value, limit, what in figures:
        if limit is None:
            continue
        if value < limit if threshold.startswith("min") else value > limit:
            bound = "least" if threshold.startswith("min") else "most"
            return Verdict(reason=threshold, detail=f"{what}: {_shown(value)}, at {bound} {_shown(limit)}")
    return KEPT


def _shown(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:.4g}"
