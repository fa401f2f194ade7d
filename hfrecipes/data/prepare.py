"""From a recipe to rows on disk: read, formatted, tokenised, labelled and packed once, then mapped into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from hfrecipes.data.examples import examples_fingerprint, read_examples
from hfrecipes.data.families import refuse_unmeasured, unlearnt_families
from hfrecipes.data.formats import Example, example_texts
from hfrecipes.data.labelled import LABEL, refuse_one_sided
from hfrecipes.data.progress import track
from hfrecipes.data.refine import Refinery, refinement_fingerprint
from hfrecipes.data.row import Row, Source
from hfrecipes.data.settings import (
    CompareSettings,
    EncodeSettings,
    LabelSettings,
    PackSettings,
    PromptSettings,
    RowSettings,
    describe,
    row_settings,
)
from hfrecipes.data.sources import open_sources
from hfrecipes.data.store import load_rows, make_once, write_rows
from hfrecipes.data.streams import best_fit_rows, compared_rows, encoded_rows, packed_rows, prompted_rows
from hfrecipes.data.tally import Tally
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.schema import cache_folder
from hfrecipes.recipe.source_list import ROLES
from hfrecipes.tokenization.tokenizer import Tokenizer

# Counted up when the same inputs begin to give other rows, so that no old preparation is taken for a new one.
CODE_VERSION = 5

_TOKENIZER_BYTES = 20_000_000


@dataclass(slots=True)
class TrainPart:
    """The rows of one source among the training rows, which follow each other in the recipe's order.

    Args:
        key: The source's place in the recipe.
        rows: How many of them there are.
        tokens: In these rows.
    """

    key: str
    rows: int = 0
    tokens: int = 0

    def count(self, stream: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same rows, counted as they pass."""
        for row in stream:
            self.rows += 1
            self.tokens += len(row["input_ids"])
            yield row


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
    damage = make_once(folder, lambda draft: _write(draft, recipe, opened, tokenizer, settings))
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


def _write(
    folder: Path,
    recipe: Recipe,
    opened: dict[str, list[Source]],
    tokenizer: Tokenizer,
    settings: RowSettings,
) -> None:
    """Writes the rows and facts of all sources into an empty folder."""
    facts, warnings, refinery = [], [], Refinery(recipe, tokenizer)
    parts: list[TrainPart] = []
    trained: set[str] = set()
    measured: set[str] = set()
    labels: set[bool] = set()
    for role, sources in opened.items():
        columns = _columns(role, settings)
        tallies = [Tally() for _ in sources]
        streams = [
            _rows(
                track(_examples(recipe, role, index, source, refinery), source.title), role, tally, tokenizer, settings
            )
            for index, (source, tally) in enumerate(zip(sources, tallies, strict=True))
        ]
        if role == "train" and isinstance(settings, EncodeSettings) and settings.best_fit:
            streams = [
                best_fit_rows(stream, tally, settings, folder / "unpacked.arrow")
                for stream, tally in zip(streams, tallies, strict=True)
            ]
        if role == "train":
            parts = [TrainPart(key) for key, _ in recipe.sources(role)]
            counted = (part.count(stream) for part, stream in zip(parts, streams, strict=True))
            if streams:
                write_rows(folder / "train.arrow", chain.from_iterable(counted), columns)
        else:
            for index, stream in enumerate(streams):
                write_rows(folder / f"{role}-{index}.arrow", stream, columns)
        for source, tally in zip(sources, tallies, strict=True):
            _refuse_nothing(source, tally)
            limit = None if isinstance(settings, PackSettings) else settings.max_length
            word = "max_prompt_length" if isinstance(settings, PromptSettings) else "max_length"
            leaves_out = isinstance(settings, CompareSettings) and settings.leaves_out
            warnings += tally.warnings(source.title, limit, word, leaves_out)
            (trained if role == "train" else measured).update(tally.families)
            labels.update(tally.labels if role == "train" else ())
            facts.append(tally.entry(role, source.name, source.split, source.revision, source.license))
    refuse_one_sided(recipe, labels)
    refuse_unmeasured(recipe, measured)
    warnings += unlearnt_families(recipe, trained, measured)
    for source in chain.from_iterable(opened.values()):
        source.refuse_changed(source.revision)
    notes = dict.fromkeys(note for sources in opened.values() for source in sources for note in source.notes())
    warnings = [*notes, *refinery.warnings, *warnings]
    record = {
        "facts": facts,
        "refinement": refinery.facts,
        "warnings": warnings,
        "parts": [asdict(part) for part in parts],
    }
    (folder / "facts.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


def _columns(role: str, settings: RowSettings) -> list[str]:
    if isinstance(settings, PromptSettings):
        return ["input_ids", "given"]
    columns = ["input_ids", "labels"]
    if isinstance(settings, PackSettings) and settings.document_mask:
        columns.append("position_ids")
    if isinstance(settings, LabelSettings):
        columns.append(LABEL)
    if isinstance(settings, CompareSettings):
        columns += ["seq_lengths", "ranks", "margin"]
    if role != "train":
        return [*columns, "num_bytes"]
    # TRL's collator makes the positions of packed examples from these.
    return [*columns, "seq_lengths"] if isinstance(settings, EncodeSettings) and settings.best_fit else columns


def _examples(
    recipe: Recipe, role: str, index: int, source: Source, refinery: Refinery
) -> Iterator[tuple[Row, Example]]:
    return refinery.examples(index, source) if role == "train" else read_examples(recipe, role, index, source)


def _refuse_nothing(source: Source, tally: Tally) -> None:
    # Of a source without documents, cleaning has left nothing, which its report says.
    if tally.rows == 0 and tally.documents:
        fault = f"in all {tally.documents} the supervised part lies past max_length"
        fix = "raise training.max_length, or shorten the prompts"
        if tied := tally.tied.count:
            fault = f"in {tied} of {tally.documents} no answer is better than another"
            better = "give answers of which some are better, by ranks or scores that differ"
            fix = (
                better
                if tied == tally.documents
                else f"{better}; or raise training.max_length, which empties the others"
            )
        raise RecipeError(Problem(source.where, f"no row of {source.title} is left: {fault}", fix))


def _rows(
    examples: Iterable[tuple[Row, Example]],
    role: str,
    tally: Tally,
    tokenizer: Tokenizer,
    settings: RowSettings,
) -> Iterator[dict[str, Any]]:
    if isinstance(settings, EncodeSettings):
        return encoded_rows(examples, tally, tokenizer, settings)
    if isinstance(settings, CompareSettings):
        return compared_rows(examples, tally, tokenizer, settings)
    if isinstance(settings, PromptSettings):
        return prompted_rows(examples, tally, tokenizer, settings)
    return packed_rows(examples, role != "train", tally, tokenizer, settings)


def _unique(titles: list[str]) -> list[str]:
    """Titles with `#2`, `#3` ... behind those that were there before."""
    return [
        title if (nth := titles[: index + 1].count(title)) == 1 else f"{title}#{nth}"
        for index, title in enumerate(titles)
    ]
