"""The files that a local source is made of: those that can be read, and those named after a split."""

from __future__ import annotations

import re
from pathlib import Path

from hfrecipes.data.hashing import SPLITS
from hfrecipes.data.local import ENDINGS, ending, shown
from hfrecipes.recipe.problem import Problem, RecipeError

# Names that files and folders of a split go by.
_SPLIT_NAMES = {
    "train": re.compile(r"train(ing)?(?![a-z])", re.IGNORECASE),
    "validation": re.compile(r"(validation|valid|val|dev)(?![a-z])", re.IGNORECASE),
    "test": re.compile(r"test(ing)?(?![a-z])", re.IGNORECASE),
}
# Notes about data, which are no part of it.
_NOTES = re.compile(r"(readme|license|notice|citation|changelog)(\.(md|txt|rst|cff))?", re.IGNORECASE)
# Files that a message names before it says how many more there are.
_NAMED = 3
# Files that hold rows and nothing else; a .json or .md beside them may be a report or a manifest.
_ROWS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


def find_files(path: Path, folder: Path, where: str) -> list[Path]:
    """The readable files at a path, in the order of their names. `folder` is the recipe's, where a user looks first.

    Raises:
        RecipeError: nothing there, or nothing that can be read.
    """
    formats = f"the formats are {', '.join(ENDINGS)}; all but Parquet also as .gz"
    if path.is_file():
        if ending(path) is None:
            raise RecipeError(Problem(where, f"{shown(path)} is of no format that can be read", formats))
        return [path]
    if path.exists() and not path.is_dir():
        raise RecipeError(Problem(where, f"{shown(path)} is neither a file nor a folder", "write its rows into a file"))
    if not path.is_dir():
        raise RecipeError(Problem(where, f"{path} does not exist", _neighbours(folder / path)))
    visible = [file for file in sorted(path.rglob("*")) if not _hidden(file.relative_to(path)) and ending(file)]
    if astray := [file for file in visible if file.is_symlink() and not file.exists()]:
        message = f"{shown(astray[0])} is a link to a file that is not there"
        raise RecipeError(Problem(where, message, "remove the link, or put the file back"))
    files = [file for file in visible if file.is_file()]
    files = [file for file in files if not _NOTES.fullmatch(file.name)]
    if not files:
        raise RecipeError(Problem(where, f"the folder {shown(path)} holds no file that can be read", formats))
    return files


def files_left_out(path: Path, taken: list[Path], by_split: bool) -> str:
    """What a folder holds beside the files that are read, in words; empty where nothing is left out.

    Args:
        path: The folder, or a file, beside which nothing is looked for.
        taken: The files that are read.
        by_split: Whether files are taken by the split that they are named after.
    """
    if not path.is_dir():
        return ""
    others = [file for file in sorted(path.rglob("*")) if file.is_file() and file not in taken]
    others = [file.relative_to(path) for file in others]
    others = [file for file in others if not _hidden(file) and not _NOTES.fullmatch(file.name)]
    unknown = [file for file in others if ending(file) is None]
    nameless = [file for file in others if by_split and ending(file) in _ROWS and split_named(file) is None]
    said = [(unknown, "of no format that is read"), (nameless, "named after no split")]
    return "; ".join(f"{', '.join(map(str, files[:_NAMED]))}{_more(files)} ({why})" for files, why in said if files)


def _more(files: list[Path]) -> str:
    return f" and {len(files) - _NAMED:,} more" if len(files) > _NAMED else ""


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


def files_of_split(files: list[Path], root: Path, split: str | None, where: str) -> list[Path] | None:
    """The files named after a split; None where no file of the folder is named after one."""
    named = {name: [file for file in files if split_named(file.relative_to(root)) == name] for name in SPLITS}
    named = {name: members for name, members in named.items() if members}
    if not named:
        return None
    if split not in named:
        message = f"{shown(root)} has files for {', '.join(named)}" + (f", not for {split!r}" if split else "")
        raise RecipeError(Problem(where, message, f"say split: {next(iter(named))}"))
    return named[split]


def split_named(path: Path) -> str | None:
    """The split that the first folder or file on a relative path is named after."""
    return next((name for part in path.parts for name, known in _SPLIT_NAMES.items() if known.match(part)), None)
