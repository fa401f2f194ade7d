"""What was cleaned as plain files: JSON Lines for each source, and the report beside."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from hfrecipes.data.clean.engine import Cleaned
from hfrecipes.data.clean.report_text import to_markdown
from hfrecipes.recipe.manifest import MANIFEST, faults_of, write_manifest
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import sync_folder

_ENDING = re.compile(r"(\.(jsonl|ndjson|json|csv|tsv|txt|md|parquet))?(\.gz)?(?=/|$)")


def export(cleaned: Cleaned, folder: Path) -> list[Path]:
    """Writes the examples of each source as `<role>/<source>.jsonl`, and `report.json` and `report.md`.

    The folder appears whole, or stays as it was. `datasets.load_dataset(folder)` and a source `{path: folder, split: train}`
    read the examples, and not the report.

    Args:
        cleaned: What `clean` gave.
        folder: New, empty, or one that was written by this function and not changed since.

    Returns:
        The files with examples; a source of which nothing is left has none.

    Raises:
        RecipeError: the folder holds something else, or cannot be written.
    """
    _refuse_foreign(folder)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.part")
    role = cleaned.report["role"]
    sources = cleaned.report["sources"]
    named = list(enumerate(_file_names([source["name"] for source in sources])))
    filled = [(index, name) for index, name in named if sources[index]["documents"]["after"]]
    try:
        (draft / role).mkdir(parents=True)
        for index, name in filled:
            _write_lines(cleaned, index, draft / role / name)
        report = json.dumps(cleaned.report, indent=1, ensure_ascii=False)
        (draft / "report.json").write_text(report + "\n", encoding="utf-8")
        (draft / "report.md").write_text(to_markdown(cleaned.report), encoding="utf-8")
        write_manifest(draft)
        _take_place(draft, folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return [folder / role / name for _, name in filled]


def _write_lines(cleaned: Cleaned, index: int, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for _, example in cleaned.examples(index):
            file.write(json.dumps(example, ensure_ascii=False) + "\n")


def refuse_unwritable(folder: Path) -> None:
    """Says before anything is cleaned what would keep `export` from writing.

    Raises:
        RecipeError: the folder holds something that `export` did not write, or nothing can be written there.
    """
    _refuse_foreign(folder)
    there = next(parent for parent in folder.absolute().parents if parent.exists())
    trial = there / f".{folder.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> RecipeError:
    message = f"{folder} cannot be written: {error.strerror or error}"
    return RecipeError(Problem("--out", message, "give another folder, on a disk that has room"))


def _refuse_foreign(folder: Path) -> None:
    """Lets `export` write only where it destroys nothing."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    fault = None
    if not folder.is_dir():
        fault = "is a file"
    elif not (folder / MANIFEST).is_file() or not (folder / "report.md").is_file():
        fault = "holds files that this command did not write"
    elif faults := faults_of(folder):
        fault = f"was changed since it was written: {faults[0]}"
    if fault:
        raise RecipeError(Problem("--out", f"{folder} {fault}", "give a folder that is not there yet"))


def _take_place(draft: Path, folder: Path) -> None:
    """Gives the draft its name. What was there is moved aside first, and removed when the new one stands."""
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
    if folder.exists():
        folder.rename(aside)
    draft.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(aside, ignore_errors=True)


def _file_names(titles: Sequence[str]) -> list[str]:
    """A name for each source's file that no other has."""
    names: list[str] = []
    for title in titles:
        stem = re.sub(r"[^\w.-]+", "-", _ENDING.sub("", title)).strip("-.") or "source"
        same = sum(1 for name in names if re.fullmatch(re.escape(stem.lower()) + r"(-\d+)?\.jsonl", name.lower()))
        names.append(f"{stem}-{same + 1}.jsonl" if same else f"{stem}.jsonl")
    return names
