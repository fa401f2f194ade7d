"""What finished runs have measured, as far as a run can be compared with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hfrecipes.evaluation.language_modeling import RowLosses
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.stages.row_losses import read_row_losses

TUNED = "tuned"
# Counted by token, these say nothing between models that read other tokens.
BY_TOKEN = ("perplexity", "token_loss")
# What transformers' TrainingArguments take where a recipe says none.
_SEED = 42

Entries = list[dict[str, Any]]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run.

    Args:
        place: Its folder, as a recipe names it.
        name: Its own.
        recipe: Its resolved recipe.
        figures: What its trained model scored, by data set and metric: entries of `evaluations`.
        data: Its entries of `data`.
        losses: What each held-out row cost its trained model, by data set; empty where that is not known.
    """

    place: str
    name: str
    recipe: dict[str, Any]
    figures: dict[Key, dict[str, Any]]
    data: Entries
    losses: Mapping[str, RowLosses]

    @property
    def seed(self) -> int:
        found = (self.recipe.get("training") or {}).get("seed")
        return _SEED if found is None else found

    def measured_what(self, other: MeasuredRun, key: Key) -> bool:
        """Whether both scored the same rows; in what is counted by token, in the same tokens."""
        ours, theirs = (_data_entry(key[0], run.data) for run in (self, other))
        if ours is None or theirs is None or key not in self.figures or key not in other.figures:
            return False
        same = ["revision", "bytes", *(["tokens"] if key[1] in BY_TOKEN else [])]
        return all(ours.get(name) == theirs.get(name) for name in same)


def this_run(recipe: Recipe, evaluations: Entries, data: Entries, losses: Mapping[str, RowLosses]) -> MeasuredRun:
    """The run that is being measured."""
    return MeasuredRun("this run", recipe.name, recipe.values, _figures(evaluations), data, losses)


def read_run(recipe: Recipe, place: str) -> MeasuredRun:
    """A run that a recipe names.

    Raises:
        RecipeError: the folder holds no run, or one whose facts are damaged.
    """
    run = RunDir(recipe.find_file(place))
    facts = run.facts()
    figures, data = _figures(facts.get("evaluations") or []), facts.get("data") or []
    name = str(facts.get("name") or run.path.name)
    return MeasuredRun(place, name, facts.get("recipe") or {}, figures, data, read_row_losses(run))


def _figures(evaluations: Entries) -> dict[Key, dict[str, Any]]:
    return {(entry["dataset"], entry["metric"]): entry for entry in evaluations if entry["model"] == TUNED}


def _data_entry(dataset: str, data: Entries) -> dict[str, Any] | None:
    """The entry of `data` that a data set's name stands for; one that was measured twice is told by its number."""
    measured = [entry for entry in data if entry.get("role") != "train"]
    if alike := [entry for entry in measured if _title(entry) == dataset]:
        return alike[0]
    title, _, number = dataset.rpartition("#")
    alike = [entry for entry in measured if _title(entry) == title]
    place = int(number) - 1 if number.isdigit() else 0
    return alike[place] if place < len(alike) else None


def _title(entry: dict[str, Any]) -> str:
    return f"{entry.get('name')}/{entry['split']}" if entry.get("split") else str(entry.get("name"))
