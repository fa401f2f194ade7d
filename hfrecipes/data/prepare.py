"""From a recipe to rows on disk: read, formatted, tokenised, labelled and packed once, then mapped into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfrecipes.data.examples import examples_fingerprint, read_examples
from hfrecipes.data.formats import example_texts
from hfrecipes.data.refine import refinement_fingerprint
from hfrecipes.data.row import Source
from hfrecipes.data.row_writer import RowWriter, TrainPart
from hfrecipes.data.settings import (
    RowSettings,
    describe,
    row_settings,
)
from hfrecipes.data.sources import open_sources
from hfrecipes.data.store import load_rows, make_once
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.schema import cache_folder
from hfrecipes.recipe.source_list import ROLES
from hfrecipes.tokenization.tokenizer import Tokenizer

# Counted up when the same inputs begin to give other rows, so that no old preparation is taken for a new one.
CODE_VERSION = 5

_TOKENIZER_BYTES = 20_000_000


@dataclass(frozen=True, eq=False)
class Prepared:
    """The rows of a run.

    Args:
        train: `datasets.Dataset` with `input_ids`, `labels` and, for packed rows kept apart, `position_ids`; for answers that
            are compared `seq_lengths` and `ranks`, one for each answer, and `margin`; prompts have `input_ids` and `given` (see
            `PromptRows`); None where there is no training data.
        eval: The same by name (`python_docstrings/validation`), with `num_bytes` beside.
        test: As `eval`.
        facts: The entries under `data` in run.json.
        refinement: `cleaning` and `augmentation` for run.json, where there was any.
        warnings: What was cut, left out or looks wrong, and whether rows in the cache were damaged.
        fingerprint: Changes with all that decides the rows.
        opened: The sources by role.
        parts: How many of the training rows are of each source.
    """

    train: Any
    eval: dict[str, Any]
    test: dict[str, Any]
    facts: list[dict[str, Any]]
    refinement: dict[str, Any]
    warnings: list[str]
    fingerprint: str
    opened: dict[str, list[Source]]
    parts: list[TrainPart]

    def sources(self, role: str) -> list[Source]:
        """The sources of `train`, `eval` or `test`, in the recipe's order."""
        return self.opened[role]


def prepare(recipe: Recipe, tokenizer: Tokenizer, cache: Path | None = None) -> Prepared:
    """Prepares the data of a recipe, or finds it prepared.

    Any number of processes may call this at once: one does the work and the others wait, so it is best called before
    processes are launched and collective timeouts begin to run. Rows that were found are verified; damaged ones are
    prepared anew, which `warnings` says to the process that did it.

    Args:
        recipe: Of a kind that trains.
        tokenizer: The model's.
        cache: Folder for prepared rows; `cache_folder()` by default.

    Raises:
        RecipeError: naming the file and row that cannot be used, or a cache that cannot be written.
    """
    opened = {role: open_sources(recipe, role) for role in ROLES}
    settings = row_settings(recipe)
    fingerprint = _fingerprint(recipe, opened, tokenizer, settings)
    folder = (cache or cache_folder()) / "prepared" / fingerprint
    damage = make_once(folder, lambda draft: RowWriter(draft, recipe, tokenizer, settings).write(opened))
    record = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    warnings = [*_told(damage), *record["warnings"]]
    titles = {role: _unique([source.title for source in sources]) for role, sources in opened.items()}
    measured = {
        role: {title: load_rows(folder / f"{role}-{index}.arrow") for index, title in enumerate(titles[role])}
        for role in ("eval", "test")
    }
    train = load_rows(folder / "train.arrow") if opened["train"] else None
    return Prepared(
        train=train,
        eval=measured["eval"],
        test=measured["test"],
        facts=record["facts"],
        refinement=record["refinement"],
        warnings=warnings,
        fingerprint=fingerprint,
        opened=opened,
        parts=[TrainPart(**part) for part in record["parts"]],
    )


def training_texts(
    recipe: Recipe, chosen: Sequence[int] | None = None, max_bytes: int = _TOKENIZER_BYTES
) -> Iterator[str]:
    """Texts of the training data for training a tokenizer on, at most `max_bytes` in all and as much of each source.

    Args:
        recipe: Names the sources.
        chosen: The sources to read, by their place; None reads all.
        max_bytes: In UTF-8.

    Raises:
        RecipeError: a row that cannot be used.
    """
    sources = {n: source for n, source in enumerate(open_sources(recipe, "train")) if chosen is None or n in chosen}
    for index, source in sources.items():
        left = max_bytes // len(sources)
        for _, example in read_examples(recipe, "train", index, source):
            for text in example_texts(example):
                left -= len(text.encode("utf-8", "surrogatepass"))
                yield text
            if left <= 0:
                break


def _told(damage: list[str]) -> list[str]:
    if not damage:
        return []
    return [f"the prepared rows in the cache were damaged and have been prepared anew: {'; '.join(damage)}"]


def _fingerprint(recipe: Recipe, opened: dict[str, list[Source]], tokenizer: Tokenizer, settings: RowSettings) -> str:
    parts: list[Any] = [
        CODE_VERSION,
        recipe.kind,
        tokenizer.fingerprint,
        describe(settings),
        refinement_fingerprint(recipe),
    ]
    for role in ROLES:
        for source, (key, said) in zip(opened[role], recipe.sources(role), strict=True):
            parts.append([role, *examples_fingerprint(recipe, said, source, recipe.where(key))])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _unique(titles: list[str]) -> list[str]:
    """Titles with `#2`, `#3` ... behind those that were there before."""
    return [
        title if (nth := titles[: index + 1].count(title)) == 1 else f"{title}#{nth}"
        for index, title in enumerate(titles)
    ]
