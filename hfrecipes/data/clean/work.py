"""The tasks of one cleaning: reading, rules over each part, and what a rule about the whole corpus decides in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hfrecipes.data.clean.judging import Held, amount_of, apply_rule, blaming, failure, hold
from hfrecipes.data.clean.parts import in_parts, read_part, write_part
from hfrecipes.data.clean.passes import split_into_passes
from hfrecipes.data.clean.records import read_records
from hfrecipes.data.clean.rule import CorpusRule, Document, Rule, Verdict
from hfrecipes.data.clean.sums import merge_metrics, sum_up, write_metrics
from hfrecipes.data.clean.task_folders import TaskFolders, is_whole, write_once
from hfrecipes.data.row import Source
from hfrecipes.data.sources import open_sources
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.manifest import faults_of, read_manifest
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.tokenization.tokenizer import Tokenizer

DOCUMENTS = "documents.arrow"
_SKETCH = "sketch.npz"
# Figures of the documents of one part, before all rules and after them.
_BEFORE, _AFTER = "before.pickle", "after.pickle"


class Work:
    """A cleaning, as every process that takes part in it knows it. Picklable.

    Not a dataclass: datatrove writes its steps as JSON, and would take one apart.

    Args:
        recipe: Names the sources.
        role: Which of them: those of `data.train`, say.
        rules: In the order in which they are applied.
        settings: Each of them as the recipe words it.
        folder: Where results are kept until all is done.
        tokenizer: Counts tokens; None counts none.
        revisions: Those of the sources, as the name of the folder has them.
    """

    def __init__(
        self,
        recipe: Recipe,
        role: str,
        rules: Sequence[Rule | CorpusRule],
        settings: Sequence[dict[str, Any]],
        folder: Path,
        tokenizer: Tokenizer | None,
        revisions: Sequence[str],
    ) -> None:
        self.recipe, self.role, self.tokenizer, self.revisions = recipe, role, tokenizer, list(revisions)
        self.rules, self.settings = list(rules), list(settings)
        self.passes = split_into_passes(rules)
        self.folders = TaskFolders(folder)

    @property
    def columns(self) -> list[str]:
        """Columns of the rows that rules ask for."""
        return list(dict.fromkeys(column for rule in self.rules for column in rule.columns))

    def read(self, told: Callable[[int], None] = lambda count: None) -> None:
        """Pass 0: writes the examples of all sources as numbered parts, none with examples of two sources.

        Parts that are there are not written again, but rows are read anew up to where a killed reading had come.

        Args:
            told: Is told how many examples were read.

        Raises:
            RecipeError: a row that cannot be used, or a source that changed while it was read.
        """
        if self.folders.is_closed(0):
            return
        sources_of_parts: list[int] = []
        documents = 0
        opened = open_sources(self.recipe, self.role)
        for index, source in enumerate(opened):
            for records in in_parts(read_records(self.recipe, self.role, index, source, self.columns)):
                folder = self.folders.task(0, len(sources_of_parts))
                if not is_whole(folder):
                    write_once(folder, lambda draft, records=records: write_part(draft / DOCUMENTS, records))
                sources_of_parts.append(index)
                documents += len(records)
                told(len(records))
        self._refuse_changed(opened)
        self.folders.write_closed(0, {"sources": sources_of_parts, "documents": documents})

    def _refuse_changed(self, opened: list[Source]) -> None:
        try:
            for source, revision in zip(opened, self.revisions, strict=True):
                source.refuse_changed(revision)
        except RecipeError:
            # Its parts may be of two editions, and would be taken for one if the old edition came back.
            shutil.rmtree(self.folders.root, ignore_errors=True)
            raise

    @property
    def sources(self) -> list[int]:
        """The source of each part, by its position in the recipe. Known when `read` is done."""
        return self.folders.read_closed(0)["sources"]

    def documents_before(self, number: int) -> int:
        """How many documents a pass reads. Known when the pass before it has ended."""
        return self.folders.read_closed(number - 1)["documents"]

    def run_task(self, number: int, part: int) -> int:
        """Applies the rules of pass `number` (from 1) to a part, unless that was done.

        Returns:
            How many documents came in.

        Raises:
            RecipeError: a rule fails, naming it and the row; or what an earlier task wrote is damaged.
        """
        folder = self.folders.task(number, part)
        if is_whole(folder):
            return read_manifest(folder)["read"]["documents"]  # type: ignore[index]
        read = held = hold(self._read_part(number - 1, part), self.tokenizer)
        tallies = {}
        for position in self.passes[number - 1].judging:
            judge = self._judge(number, part, position)
            held, tally = apply_rule(self.rules[position].name, judge, held, self.tokenizer)
            tallies[position] = tally.to_dict()

        def write(draft: Path) -> None:
            write_part(draft / DOCUMENTS, [one.record for one in held])
            self._write_sketch(draft / _SKETCH, self.passes[number - 1].closing, held)
            if number == 1:
                write_metrics(draft / _BEFORE, read, self.sources[part])
            if number == len(self.passes):
                write_metrics(draft / _AFTER, held, self.sources[part])

        write_once(folder, write, read=asdict(amount_of(read)), kept=asdict(amount_of(held)), tallies=tallies)
        return len(read)

    def close(self, number: int) -> None:
        """Ends a pass all of whose tasks are done: its corpus rule decides, counts are summed up, what is spent is removed.

        Raises:
            RecipeError: the rule fails.
        """
        if not self.folders.is_closed(number):
            self._decide(number)
            sums = sum_up((source, manifest) for _, source, manifest in self._results(number))
            if number == 1:
                sums["before"] = self._metrics(number, _BEFORE)
            if number == len(self.passes):
                sums["after"] = self._metrics(number, _AFTER)
            self.folders.write_closed(number, sums)
        self.folders.remove_spent(number)

    def sums(self) -> list[dict[str, Any]]:
        """What was counted in each pass, when all have ended; the first has the metrics `before`, the last those `after`."""
        return [self.folders.read_closed(number + 1) for number in range(len(self.passes))]

    def results(self) -> Iterator[tuple[int, int, Path]]:
        """Source, number of documents and file of each part that has some, when all passes have ended."""
        for part, source, manifest in self._results(len(self.passes)):
            if count := manifest["kept"]["documents"]:
                yield source, count, self.folders.task(len(self.passes), part) / DOCUMENTS

    def progress(self) -> str:
        """How far it has come, for a person."""
        if not self.folders.is_closed(0):
            return "while the rows were read"
        open_passes = (number for number in range(1, len(self.passes) + 1) if not self.folders.is_closed(number))
        number = next(open_passes, len(self.passes))
        done = self.folders.count_done(number)
        return f"in pass {number} of {len(self.passes)}, with {done:,} of {len(self.sources):,} parts done"

    def _read_part(self, number: int, part: int) -> list[Any]:
        folder = self.folders.task(number, part)
        if faults := faults_of(folder):
            fix = f"remove {self.folders.root} and clean again"
            raise RecipeError(Problem(str(folder), f"is damaged: {'; '.join(faults)}", fix))
        return read_part(folder / DOCUMENTS)

    def _results(self, number: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Part, source and manifest of every task of a pass."""
        for part, source in enumerate(self.sources):
            manifest = read_manifest(self.folders.task(number, part))
            assert manifest is not None, f"part {part} of pass {number} is not done"
            yield part, source, manifest

    def _judge(self, number: int, part: int, position: int) -> Callable[[Sequence[Document]], list[Verdict]]:
        rule = self.rules[position]
        if position != self.passes[number - 1].opening:
            return blaming(rule.name, rule.judge)  # type: ignore[union-attr]

        def judge(documents: Sequence[Document]) -> list[Verdict]:
            # Parts without documents have no decisions, and are not judged.
            with np.load(self.folders.decisions(number - 1) / f"{part:05d}.npz", allow_pickle=False) as file:
                return rule.judge(documents, dict(file))  # type: ignore[call-arg]

        return blaming(rule.name, judge, alone=False)

    def _write_sketch(self, path: Path, position: int | None, held: list[Held]) -> None:
        if position is not None and held:
            rule = self.rules[position]
            sketch = blaming(rule.name, rule.sketch)([one.document for one in held])  # type: ignore[union-attr]
            np.savez(path, **sketch)

    def _decide(self, number: int) -> None:
        """Lets the corpus rule at the end of a pass, if there is one, decide about the parts that have documents."""
        position, folder = self.passes[number - 1].closing, self.folders.decisions(number)
        if position is None or is_whole(folder):
            return
        rule = self.rules[position]
        filled = [part for part, _, manifest in self._results(number) if manifest["kept"]["documents"]]
        sketches = [self.folders.task(number, part) / _SKETCH for part in filled]

        def write(draft: Path) -> None:
            try:
                rule.resolve(sketches, [draft / f"{part:05d}.npz" for part in filled])  # type: ignore[union-attr]
            except (RecipeError, OSError):
                raise
            except Exception as error:
                raise failure(rule.name, "the whole corpus", error) from error

        write_once(folder, write)

    def _metrics(self, number: int, file: str) -> dict[str, Any]:
        return merge_metrics(self.folders.task(number, part) / file for part in range(len(self.sources)))
