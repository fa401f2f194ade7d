"""Reads what a run left for a card, a report or a publication, and refuses what somebody has changed into something else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

_AMOUNTS = dict.fromkeys(("documents", "characters", "bytes", "tokens"), dict)
_COUNTS = ("rows", "tokens", "supervised_tokens", "truncated_rows", "dropped_rows")

# What stands where in run.json (docs/architecture.md), where a card or a report cannot do with anything else: a type, or some;
# `[…]` a list of such; `{…}` an object with these keys, `str` for any. Everything may be missing, or null.
_LAYOUT: dict[str, Any] = {
    "command": [str],
    "sessions": [dict],
    "recipe": {
        "publish": {"license": str, "language": (str, list)},
        "data": {"train": [dict], "splits": {"fold": int, "folds": int}},
    },
    "plan": {"mixture": {"sources": {str: dict}, "shares": {str: list}}},
    "steps": [{"run": str}],
    "folds": [dict.fromkeys(("model", "dataset", "metric", "unit"), str) | {"values": list}],
    "data": [
        dict.fromkeys(("role", "name", "split", "revision", "license"), str)
        | dict.fromkeys(_COUNTS, int)
        | {"kinds": {str: dict.fromkeys(("rows", "tokens", "supervised_tokens"), int)}}
    ],
    "evaluations": [dict.fromkeys(("model", "dataset", "metric", "unit"), str) | {"step": int}],
    "cleaning": _AMOUNTS | {"rules": [{"rule": str, "reasons": dict}]},
    "augmentation": {str: {"methods": {str: {"thrown_away": dict}}}},
}


def facts_of(run: RunDir) -> dict[str, Any]:
    """The facts of a run, each of the kind that a run writes at its place.

    Raises:
        RecipeError: where there is no run, or naming the places at which its facts hold something else.
    """
    facts = run.facts()
    fix = "put back what the run wrote there, or take the entry out"
    faults = [Problem(str(run.facts_file), fault, fix) for fault in _faults(facts, _LAYOUT, "")]
    if faults:
        raise RecipeError(faults)
    return facts


def read_card(card: Path) -> str:
    """The text of a card.

    Raises:
        RecipeError: where it cannot be read, or is no text.
    """
    try:
        return card.read_text(encoding="utf-8")
    except OSError as error:
        fault, fix = f"cannot be read: {error.strerror or error}", "give a run directory or a README.md"
    except UnicodeDecodeError as error:
        fault, fix = f"is not UTF-8 text: {error.reason}", "save the card as UTF-8"
    raise RecipeError(Problem(str(card), fault, fix))


def _faults(value: Any, layout: Any, path: str) -> Iterator[str]:
    """The places at which a value is laid out otherwise."""
    if value is None:
        return
    kinds = type(layout) if isinstance(layout, dict | list) else layout
    if not isinstance(value, kinds):
        yield _fault(value, path)
    elif isinstance(layout, list):
        for index, entry in enumerate(value):
            # Of an object, what is missing can be null; in a list, nothing has its place kept.
            here = f"{path}.{index}"
            yield from [_fault(None, here)] if entry is None else _faults(entry, layout[0], here)
    elif isinstance(layout, dict):
        for key, entry in value.items():
            yield from _faults(entry, layout.get(key, layout.get(str, object)), f"{path}.{key}".lstrip("."))


def _fault(value: Any, path: str) -> str:
    return f"is damaged: {path} is {type(value).__name__}, which a run does not write there"
