"""The rows of all sources, written once into a folder, with what is to be told of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from hfrecipes.data.examples import read_examples
from hfrecipes.data.families import refuse_unmeasured, unlearnt_families
from hfrecipes.data.labelled import LABEL, refuse_one_sided
from hfrecipes.data.progress import track
from hfrecipes.data.refine import Refinery
from hfrecipes.data.row import Source
from hfrecipes.data.settings import (
    CompareSettings,
    EncodeSettings,
    LabelSettings,
    PackSettings,
    PromptSettings,
    RowSettings,
)
from hfrecipes.data.store import write_rows
from hfrecipes.data.streams import best_fit_rows, compared_rows, encoded_rows, packed_rows, prompted_rows
from hfrecipes.data.tally import Tally
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

_Rows = Iterator[dict[str, Any]]


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


class RowWriter:
    """Writes the rows of a recipe, source by source, and remembers what there is to tell.

    Args:
        folder: Empty.
        recipe: Of a kind that trains.
        tokenizer: The model's.
        settings: How rows are made.
    """

    def __init__(self, folder: Path, recipe: Recipe, tokenizer: Tokenizer, settings: RowSettings) -> None:
        self.folder, self.recipe, self.tokenizer, self.settings = folder, recipe, tokenizer, settings
        self.refinery = Refinery(recipe, tokenizer)
        self.facts: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.parts: list[TrainPart] = []

    def write(self, opened: dict[str, list[Source]]) -> None:
        """Rows as `train.arrow` and `ROLE-N.arrow`, and `facts.json`.

        Args:
            opened: The sources by role.

        Raises:
            RecipeError: naming the file and row that cannot be used, or what is wrong with all of them.
        """
        tallies = {role: self._write_role(role, sources) for role, sources in opened.items()}
        trained = tallies["train"]
        families = {family for tally in trained for family in tally.families}
        measured = {family for role in ("eval", "test") for tally in tallies[role] for family in tally.families}
        refuse_one_sided(self.recipe, {label for tally in trained for label in tally.labels})
        refuse_unmeasured(self.recipe, measured)
        self.warnings += unlearnt_families(self.recipe, families, measured)
        sources = list(chain.from_iterable(opened.values()))
        for source in sources:
            source.refuse_changed(source.revision)
        notes = dict.fromkeys(note for source in sources for note in source.notes())
        record = {
            "facts": self.facts,
            "refinement": self.refinery.facts,
            "warnings": [*notes, *self.refinery.warnings, *self.warnings],
            "parts": [asdict(part) for part in self.parts],
        }
        (self.folder / "facts.json").write_text(json.dumps(record, indent=1), encoding="utf-8")

    def _write_role(self, role: str, sources: list[Source]) -> list[Tally]:
        tallies = [Tally() for _ in sources]
        streams = [
            self._rows(role, index, source, tally)
            for index, (source, tally) in enumerate(zip(sources, tallies, strict=True))
        ]
        columns = _columns(role, self.settings)
        if role == "train":
            self._write_train(streams, tallies, columns)
        else:
            for index, stream in enumerate(streams):
                write_rows(self.folder / f"{role}-{index}.arrow", stream, columns)
        for source, tally in zip(sources, tallies, strict=True):
            _refuse_nothing(source, tally)
            self.warnings += self._told(source, tally)
            self.facts.append(tally.entry(role, source.name, source.split, source.revision, source.license))
        return tallies

    def _write_train(self, streams: list[_Rows], tallies: list[Tally], columns: list[str]) -> None:
        if not streams:
            return
        settings = self.settings
        if isinstance(settings, EncodeSettings) and settings.best_fit:
            draft = self.folder / "unpacked.arrow"
            pairs = zip(streams, tallies, strict=True)
            streams = [best_fit_rows(stream, tally, settings, draft) for stream, tally in pairs]
        self.parts = [TrainPart(key) for key, _ in self.recipe.sources("train")]
        counted = (part.count(stream) for part, stream in zip(self.parts, streams, strict=True))
        write_rows(self.folder / "train.arrow", chain.from_iterable(counted), columns)

    def _rows(self, role: str, index: int, source: Source, tally: Tally) -> _Rows:
        refined = role == "train"
        examples = self.refinery.examples(index, source) if refined else read_examples(self.recipe, role, index, source)
        shown, settings = track(examples, source.title), self.settings
        if isinstance(settings, EncodeSettings):
            return encoded_rows(shown, tally, self.tokenizer, settings)
        if isinstance(settings, CompareSettings):
            return compared_rows(shown, tally, self.tokenizer, settings)
        if isinstance(settings, PromptSettings):
            return prompted_rows(shown, tally, self.tokenizer, settings)
        return packed_rows(shown, not refined, tally, self.tokenizer, settings)

    def _told(self, source: Source, tally: Tally) -> list[str]:
        """What was cut, left out or looks wrong in a source."""
        settings = self.settings
        limit = None if isinstance(settings, PackSettings) else settings.max_length
        word = "max_prompt_length" if isinstance(settings, PromptSettings) else "max_length"
        leaves_out = isinstance(settings, CompareSettings) and settings.leaves_out
        return tally.warnings(source.title, limit, word, leaves_out)


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
