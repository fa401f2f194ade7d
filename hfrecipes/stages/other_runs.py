"""Figures of other runs, on the same held-out data, that stand beside a run's own."""

from __future__ import annotations

from typing import Any

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.rundir import RunDir

TUNED = "tuned"
# Counted by token, these say nothing between models that read other tokens.
_BY_TOKEN = ("perplexity", "token_loss")

Entries = list[dict[str, Any]]


def entries_of_others(recipe: Recipe, evaluations: Entries, data: Entries) -> tuple[Entries, list[str]]:
    """What the models of the runs in `evaluation.compare_runs` scored, in metrics and on data sets that this run has measured.

    Args:
        recipe: Names the other runs.
        evaluations: This run's own entries of `evaluations`.
        data: Its entries of `data`.

    Returns:
        Entries whose `model` is the other run's name, and warnings on runs that measured none of the same rows.

    Raises:
        RecipeError: a folder holds no run, or one whose facts are damaged.
    """
    measured = {(entry["dataset"], entry["metric"]) for entry in evaluations if entry["model"] == TUNED}
    found: Entries = []
    warnings: list[str] = []
    names: set[str] = {entry["model"] for entry in evaluations}
    for path in recipe.get("evaluation.compare_runs", []):
        facts = RunDir(recipe.find_file(path)).facts()
        name = str(facts["name"]) if facts["name"] not in names else str(path)
        names.add(name)
        other = facts.get("data") or []
        own = [
            {**entry, "model": name}
            for entry in facts.get("evaluations") or []
            if entry["model"] == TUNED
            and (entry["dataset"], entry["metric"]) in measured
            and _is_comparable(entry, data, other)
        ]
        found += own
        if not own:
            warnings.append(f"{path} has no figure to compare: it measured nothing on the same held-out rows")
    return found, warnings


def _is_comparable(entry: dict[str, Any], data: Entries, other: Entries) -> bool:
    """Whether both runs measured the same rows; of what is counted by token, in the same tokens."""
    ours, theirs = _of(entry["dataset"], data), _of(entry["dataset"], other)
    if ours is None or theirs is None:
        return False
    same = ["revision", "bytes", *(["tokens"] if entry["metric"] in _BY_TOKEN else [])]
    return all(ours.get(name) == theirs.get(name) for name in same)


def _of(dataset: str, data: Entries) -> dict[str, Any] | None:
    """The entry of `data` that a data set's name stands for; one that was measured twice is told by its number."""
    title, _, number = dataset.partition("#")
    alike = [entry for entry in data if entry["role"] != "train" and _title(entry) == title]
    place = int(number) - 1 if number.isdigit() else 0
    return alike[place] if place < len(alike) else None


def _title(entry: dict[str, Any]) -> str:
    return f"{entry['name']}/{entry['split']}" if entry.get("split") else str(entry["name"])
