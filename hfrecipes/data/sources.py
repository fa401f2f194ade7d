"""From what a recipe says under `data` to rows: Hub data sets, local files and what Python brings along."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from hfrecipes.data import embedded, hub
from hfrecipes.data.families import without_families
from hfrecipes.data.hashing import SPLITS, content_key, sha256_of_files, split_of
from hfrecipes.data.local import is_document, read_file, shown
from hfrecipes.data.local_files import files_left_out, files_of_split, find_files, split_named
from hfrecipes.data.row import Row, Source
from hfrecipes.data.splits.assign import Assignment, RowsChangedError, assign
from hfrecipes.data.splits.settings import SplitSettings, split_settings
from hfrecipes.data.tasks import task_problems
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

# The mend where a source that is divided by hash has nothing in a split.
_FEW_ROWS = "rows fall into train, validation and test (90, 5 and 5 %) by a hash: give more of them, or say data.splits"


def open_sources(recipe: Recipe, role: str) -> list[Source]:
    """The sources that a recipe names under `data.train`, `data.eval` or `data.test`, in its order.

    Raises:
        RecipeError: with the problems of all of them.
    """
    sources, problems = [], []
    for key, spec in recipe.sources(role):
        try:
            sources.append(open_source(spec, recipe, recipe.where(key)))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(problems)
    return sources


def open_source(spec: dict[str, Any], recipe: Recipe, where: str) -> Source:
    """One source of a recipe, opened but not read.

    A local folder whose files or subfolders are named after splits (`train.jsonl`, `test/part-0.jsonl`) gives those.
    Where nothing is named so and a split is asked for, rows fall into train, validation and test (90, 5 and 5 %) by a
    hash of their content: rows added later move no other row, and equal rows never end up on both sides. A single text
    file is one document, which is cut in the same shares from its beginning to its end, at line breaks.

    Args:
        spec: `{name, subset, split, revision}` or `{path, split}`, with `limit`, `columns` and `format` beside.
        recipe: The recipe that names it, for finding files beside it.
        where: Its place in the recipe, for problems.

    Raises:
        RecipeError: the file, format or split does not exist, the source is named twice or not at all, or what it says of its
            rows contradicts itself.
    """
    if bool(spec.get("name")) == bool(spec.get("path")):
        fix = "say name: for a Hub or embedded data set, or path: for local files"
        raise RecipeError(Problem(where, "a source has either a name or a path", fix))
    if errors := [problem for problem in task_problems(spec, where) if problem.severity == "error"]:
        raise RecipeError(errors)
    source = _open(spec, recipe, where)
    return without_families(source, spec) if spec.get("held_out_families") else source


def _open(spec: dict[str, Any], recipe: Recipe, where: str) -> Source:
    settings = split_settings(recipe) if spec.get("split") else None
    if spec.get("path"):
        return _open_local(spec, recipe.find_file(spec["path"]), recipe.path.parent, where, settings)
    if spec["name"] in embedded.NAMES:
        whole = embedded.open_embedded({**spec, "split": None} if settings else spec, where)
        return whole if settings is None else _dealt(whole, spec["split"], settings, ())
    if settings is not None:
        fix = "download it to a file, or leave out data.splits and take the splits that it has"
        raise RecipeError(Problem(where, "data.splits deals rows of local and embedded sources only", fix))
    return hub.open_hub(spec, where)


def _open_local(spec: dict[str, Any], path: Path, folder: Path, where: str, settings: SplitSettings | None) -> Source:
    if "://" in spec["path"]:
        fix = "download it, or name a data set of the Hub with name:"
        raise RecipeError(Problem(where, f"{spec['path']} is an address, and path: names local files", fix))
    split = spec.get("split")
    root = path if path.is_dir() else path.parent
    files = find_files(path, folder, where)
    chosen = files_of_split(files, root, split, where) if path.is_dir() and settings is None else None
    if chosen is not None:
        files = chosen
    elif split is not None and split not in SPLITS:
        fix = f"a local source has the splits {', '.join(SPLITS)}; say limit: for fewer rows"
        raise RecipeError(Problem(where, f"{path} has no split {split!r}", fix))
    by_hash = split if chosen is None and settings is None else None
    single = len(files) == 1 and is_document(files[0])
    named = sorted({name for file in files if (name := split_named(file.relative_to(root)))} if path.is_dir() else ())
    if named and settings is not None:
        message = f"{shown(root)} has files for {', '.join(named)}, which data.splits would deal anew"
        raise RecipeError(Problem(where, message, "leave out data.splits, or name the one file that it is to deal"))
    if single and settings is not None:
        fix = "give a file or folder of several rows, or leave out data.splits: its beginning is then trained on, its end tested"
        raise RecipeError(Problem(where, f"{shown(files[0])} is one document, which data.splits cannot deal", fix))

    def read() -> Iterator[Row]:
        rows = chain.from_iterable(map(read_file, files))
        if by_hash is None:
            return rows
        if single:
            return (_part_of_document(row, by_hash) for row in rows)
        return (row for row in rows if split_of(content_key(row.values)) == by_hash)

    def hash_content() -> str:
        return sha256_of_files((file.relative_to(root).as_posix(), file) for file in files)

    # The name goes into cards and metrics, where a path of one machine has no place.
    name = path.name if Path(spec["path"]).expanduser().is_absolute() else spec["path"]
    source = Source(name, split, spec.get("license"), False, read, hash_content, where, spec.get("limit"))
    if left_out := files_left_out(path, files, by_split=chosen is not None):
        source = replace(source, notes=lambda: (f"{name}: files are left out: {left_out}",))
    if settings is None:
        return replace(source, if_empty=_FEW_ROWS) if by_hash and not single else source
    stamps = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return _dealt(source, split, settings, stamps, shown(root))


# The latest assignments, by the rows and settings they are of: the roles of a recipe ask for the same one.
_assignments: OrderedDict[str, Assignment] = OrderedDict()
_KEPT_ASSIGNMENTS = 8


def _dealt(
    whole: Source, split: str, settings: SplitSettings, stamps: Sequence[tuple[str, int, int]], root: str = ""
) -> Source:
    """The rows of a source that `data.splits` deals to a split.

    Args:
        whole: All rows.
        split: The split.
        settings: From the recipe.
        stamps: Path, size and time of its files, which change with its rows.
        root: The folder that its rows' places begin with.

    Raises:
        RecipeError: there is no such split.
    """
    known = {settings.split_of_part(part) for part in settings.names}
    if split not in known:
        fix = f"data.splits makes {', '.join(sorted(known))}"
        raise RecipeError(Problem(whole.where, f"{whole.name} has no split {split!r}", fix))

    def assigned() -> Assignment:
        key = repr((whole.name, stamps, settings))
        if key not in _assignments:
            _assignments[key] = assign(whole.read(), settings, root)
            while len(_assignments) > _KEPT_ASSIGNMENTS:
                _assignments.popitem(last=False)
        return _assignments[key]

    def read() -> Iterator[Row]:
        if empty := assigned().folds_without(split):
            message = (
                f"{len(empty)} of {len(settings.names)} folds of {whole.name} have no {split} rows, such as {empty[0]}"
            )
            raise RecipeError(Problem(whole.where, message, "say fewer folds, or give more rows or smaller groups"))
        try:
            yield from assigned().select(whole.read(), split)
        except RowsChangedError as error:
            fix = "begin again when its files are no longer written to"
            raise RecipeError(Problem(whole.where, f"{whole.name} {error}", fix)) from error

    def notes() -> tuple[str, ...]:
        return (*whole.notes(), *(f"{whole.name}: {note}" for note in assigned().warnings))

    if_empty = "data.splits deals it none: give more rows, other shares, or smaller groups"
    return replace(whole, split=split, read=read, notes=notes, if_empty=if_empty)


def _part_of_document(row: Row, split: str) -> Row:
    """The first 90 %, next 5 % or last 5 % of a document, whole lines only."""
    text: str = row.values["text"]
    cuts = [0, _next_line(text, 0.90), _next_line(text, 0.95), len(text)]
    start, end = cuts[SPLITS.index(split)], cuts[SPLITS.index(split) + 1]
    if not text[start:end].strip():
        message = f"is too short to have a {split} part"
        raise RecipeError(Problem(row.where, message, "leave out split:, or give more text"))
    return Row(f"{row.where}:{text.count(chr(10), 0, start) + 1}", {"text": text[start:end]})


def _next_line(text: str, share: float) -> int:
    """Position after the first line break at or past a share of the text."""
    found = text.find("\n", int(len(text) * share))
    return len(text) if found < 0 else found + 1
