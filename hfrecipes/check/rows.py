"""One pass over the rows of a local source: what each row is, which rows are faulty, and an even sample of the good ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hfrecipes.data.formats import Example, example_texts, is_conversational, to_examples
from hfrecipes.data.hashing import stable_key
from hfrecipes.data.labelled import LABEL
from hfrecipes.data.local import parse_json, shown
from hfrecipes.data.messages import listed
from hfrecipes.data.row import Row
from hfrecipes.data.settings import text_column
from hfrecipes.data.sources import open_source
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

# Rows whose tokens are counted; enough to see a share of 1 % to within half a percent.
SAMPLE_ROWS = 2000
# Rows that a message names before it says how many more there are.
NAMED_ROWS = 3
_COLUMNS = ("text", "messages", "prompt", "completion", "chosen", "rejected", "answers")


@dataclass
class Scan:
    """What a pass over a source found.

    Args:
        key: The source's place in the recipe: `data.train.0`.
        columns: The columns of its examples (`text`; `messages`; `prompt`, `completion`); empty where not known.
        conversational: Whether its examples hold messages; None where not known.
        others: Columns of prompts that all rows have beside the prompt, for rewards; None where not known.
        num_rows: Rows read.
        places: Content of a row, as a hash, -> the place of the first row that has it.
        repeats: Pairs of places of rows that say the same.
        labels: Whether answers are good, of all rows that say it.
        num_tied: Rows whose answers are all equally good.
        sample: Places and examples, at most SAMPLE_ROWS, evenly over the source.
        problems: What is wrong.
    """

    key: str
    columns: tuple[str, ...] = ()
    conversational: bool | None = None
    others: frozenset[str] | None = None
    num_rows: int = 0
    places: dict[int, str] = field(default_factory=dict)
    repeats: list[tuple[str, str]] = field(default_factory=list)
    labels: set[bool] = field(default_factory=set)
    num_tied: int = 0
    sample: list[tuple[str, Example]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def scan_rows(recipe: Recipe, key: str, spec: dict[str, Any], read_by_rules: Iterable[str] = ()) -> Scan:
    """Reads a local source from beginning to end. A `format` function is not run: its rows are only read.

    Args:
        recipe: The recipe.
        key: The source's place in it.
        spec: What stands there.
        read_by_rules: Columns that rules of cleaning read beside the text.
    """
    scan = Scan(key)
    faults: dict[str, list[str]] = {}
    sample: EvenSample = EvenSample(SAMPLE_ROWS)
    spec = text_column(recipe, spec)
    try:
        source = open_source(spec, recipe, recipe.where(key))
        for row in source.rows():
            scan.num_rows += 1
            for column in read_by_rules:
                if column not in row.values:
                    faults.setdefault(_missing_column(column, row), []).append(row.where)
            examples = [row.values] if spec.get("format") else _examples(row, spec, faults)
            if not examples:
                continue
            _note_content(scan, row, content_of(examples[0]))
            if not spec.get("format"):
                _note_shape(scan, examples[0])
                scan.labels.update(example[LABEL] for example in examples if LABEL in example)
                scan.num_tied += len(set(examples[0].get("ranks", (0, 1)))) == 1
                sample.add((row.where, examples[0]))
        scan.problems += [Problem(recipe.where(key), note, "", "warning") for note in source.notes()]
    except RecipeError as error:
        scan.problems += [_with_others(problem, recipe.find_file(spec["path"])) for problem in error.problems]
    scan.sample = sample.items()
    scan.problems += _row_problems(faults, scan.num_rows, recipe.where(key))
    if spec.get("format"):
        fault = f"the rows of {spec['path']} pass through {spec['format']}, which is not run here"
        scan.problems.append(Problem(recipe.where(f"{key}.format"), fault, "", "unchecked"))
    return scan


def _missing_column(column: str, row: Row) -> str:
    fault = f"there is no column {column!r}, which data.clean reads; the columns are {listed(row.values)}"
    return f"{fault}\nsay which one to read with column:"


def content_of(example: Example) -> int:
    """A hash of what a row says, whatever its case and its white space."""
    texts = example_texts(example) or [str(value) for value in example.values()]
    return stable_key("\x00".join(" ".join(text.split()).casefold() for text in texts))


def named_places(places: list[str]) -> str:
    """`train.jsonl:7, train.jsonl:9, train.jsonl:12 and 4 more`."""
    rest = len(places) - NAMED_ROWS
    return ", ".join(places[:NAMED_ROWS]) + (f" and {rest:,} more" if rest > 0 else "")


class EvenSample:
    """At most `size` items, evenly spread over a stream whose length is not known before."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: list[Any] = []
        self._stride = 1
        self._seen = 0

    def add(self, item: Any) -> None:
        if self._seen % self._stride == 0:
            self._kept.append(item)
        self._seen += 1
        if len(self._kept) >= 2 * self.size:
            self._kept = self._kept[::2]
            self._stride *= 2

    def items(self) -> list[Any]:
        count = len(self._kept)
        if count <= self.size:
            return list(self._kept)
        return [self._kept[index * count // self.size] for index in range(self.size)]


def _examples(row: Row, spec: dict[str, Any], faults: dict[str, list[str]]) -> list[Example]:
    try:
        return to_examples(row.values, spec, row.where)
    except RecipeError as error:
        for problem in error.problems:
            faults.setdefault(f"{problem.message}\n{problem.fix}", []).append(row.where)
        return []


def _with_others(problem: Problem, file: Path) -> Problem:
    """The first malformed line of a file, with those that follow it: reading stops at the first."""
    if not file.is_file() or file.suffix.lower() not in (".jsonl", ".ndjson"):
        return problem
    lines = malformed_lines(file)
    others = [f"{shown(file)}:{line}" for line in lines[1:]]
    if not others or problem.where != f"{shown(file)}:{lines[0]}":
        return problem
    return replace(problem, fix=f"as are {named_places(others)}; {problem.fix}")


def malformed_lines(file: Path) -> list[int]:
    """Numbers of the lines, from 1, that hold no JSON object; blank lines are none of a file's rows."""
    malformed = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                well_formed = not line.strip() or isinstance(parse_json(line.decode("utf-8-sig"), ""), dict)
            except ValueError:
                well_formed = False
            if not well_formed:
                malformed.append(number)
    return malformed


def _note_content(scan: Scan, row: Row, content: int) -> None:
    first = scan.places.setdefault(content, row.where)
    if first != row.where:
        scan.repeats.append((first, row.where))


def _note_shape(scan: Scan, example: Example) -> None:
    if "columns" in example:
        found = frozenset(example["columns"])
        scan.others = found if scan.others is None else scan.others & found
    if not scan.columns:
        scan.columns = tuple(name for name in _COLUMNS if name in example)
        scan.conversational = is_conversational(example)


def _row_problems(faults: dict[str, list[str]], num_rows: int, where: str) -> Iterator[Problem]:
    for text, places in faults.items():
        message, _, fix = text.partition("\n")
        if len(places) == num_rows:
            # What is wrong with every row is wrong with what the recipe says about them.
            yield Problem(where, f"{message} (all {num_rows:,} rows, from {places[0]})", fix)
        else:
            count = f": {len(places):,} of {num_rows:,} rows, {named_places(places)}" if len(places) > 1 else ""
            yield Problem(places[0], message + count, fix)


def answerless(sample: Iterable[tuple[str, Example]]) -> list[str]:
    """Places of conversations in which no assistant speaks."""
    return [
        where
        for where, example in sample
        if "messages" in example and all(message["role"] != "assistant" for message in example["messages"])
    ]
