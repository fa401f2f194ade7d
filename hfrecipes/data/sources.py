"""From what a recipe says under `data` to rows: Hub data sets, local files and what Python brings along."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from hfrecipes.data import embedded, hub
from hfrecipes.data.hashing import SPLITS, content_key, sha256_of_files, split_of
from hfrecipes.data.local import ENDINGS, ending, is_document, read_file, shown
from hfrecipes.data.row import Row, Source
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

ROLES = ("train", "eval", "test")

# Names that files and folders of a split go by.
_SPLIT_NAMES = {
    "train": re.compile(r"train(ing)?(?![a-z])", re.IGNORECASE),
    "validation": re.compile(r"(validation|valid|val|dev)(?![a-z])", re.IGNORECASE),
    "test": re.compile(r"test(ing)?(?![a-z])", re.IGNORECASE),
}


def open_sources(recipe: Recipe, role: str) -> list[Source]:
    """The sources that a recipe names under `data.train`, `data.eval` or `data.test`, in its order.

    Raises:
        RecipeError: with the problems of all of them.
    """
    sources, problems = [], []
    for index, spec in enumerate(recipe.get(f"data.{role}", [])):
        try:
            sources.append(open_source(spec, recipe, recipe.where(f"data.{role}.{index}")))
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
        RecipeError: the file, format or split does not exist, or the source is named twice or not at all.
    """
    if bool(spec.get("name")) == bool(spec.get("path")):
        fix = "say name: for a Hub or embedded data set, or path: for local files"
        raise RecipeError(Problem(where, "a source has either a name or a path", fix))
    if spec.get("path"):
        return _open_local(spec, recipe.find_file(spec["path"]), recipe.path.parent, where)
    if spec["name"] in embedded.NAMES:
        return embedded.open_embedded(spec, where)
    return hub.open_hub(spec, where)


def _open_local(spec: dict[str, Any], path: Path, folder: Path, where: str) -> Source:
    split = spec.get("split")
    root = path if path.is_dir() else path.parent
    files = _find_files(path, folder, where)
    chosen = _files_of_split(files, root, split, where) if path.is_dir() else None
    if chosen is not None:
        files = chosen
    elif split is not None and split not in SPLITS:
        fix = f"a local source has the splits {', '.join(SPLITS)}; say limit: for fewer rows"
        raise RecipeError(Problem(where, f"{path} has no split {split!r}", fix))
    by_hash = split if chosen is None else None
    single = len(files) == 1 and is_document(files[0])

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
    return Source(name, split, spec.get("license"), False, read, hash_content, where, spec.get("limit"))


def _find_files(path: Path, folder: Path, where: str) -> list[Path]:
    """The readable files at a path, in the order of their names. `folder` is the recipe's, where a user looks first.

    Raises:
        RecipeError: nothing there, or nothing that can be read.
    """
    formats = f"the formats are {', '.join(ENDINGS)}; all but Parquet also as .gz"
    if path.is_file():
        if ending(path) is None:
            raise RecipeError(Problem(where, f"{shown(path)} is of no format that can be read", formats))
        return [path]
    if not path.is_dir():
        raise RecipeError(Problem(where, f"{path} does not exist", _neighbours(folder / path)))
    visible = (file for file in sorted(path.rglob("*")) if not _hidden(file.relative_to(path)))
    files = [file for file in visible if file.is_file() and ending(file)]
    # A note about the data is not part of the data.
    files = [
        file for file in files if file.name.lower() not in ("readme.md", "readme.txt", "license.txt", "license.md")
    ]
    if not files:
        raise RecipeError(Problem(where, f"the folder {shown(path)} holds no file that can be read", formats))
    return files


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _neighbours(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder} either"
    names = sorted(file.name + "/" * file.is_dir() for file in folder.iterdir() if not file.name.startswith("."))
    return (
        f"{folder} holds {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}" if names else f"{folder} is empty"
    )


def _files_of_split(files: list[Path], root: Path, split: str | None, where: str) -> list[Path] | None:
    """The files named after a split; None where no file of the folder is named after one."""
    named = {name: [file for file in files if _split_named(file.relative_to(root)) == name] for name in SPLITS}
    named = {name: members for name, members in named.items() if members}
    if not named:
        return None
    if split not in named:
        message = f"{shown(root)} has files for {', '.join(named)}" + (f", not for {split!r}" if split else "")
        raise RecipeError(Problem(where, message, f"say split: {next(iter(named))}"))
    return named[split]


def _split_named(path: Path) -> str | None:
    """The split that the first folder or file on a relative path is named after."""
    return next((name for part in path.parts for name, known in _SPLIT_NAMES.items() if known.match(part)), None)


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
