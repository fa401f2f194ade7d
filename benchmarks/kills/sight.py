"""What can be seen of a training from outside, in its files alone; judged here, not by the product's own code."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .trainings import Part


@dataclass(frozen=True, slots=True)
class Sight:
    """Where a training stood when it was killed.

    Args:
        part: The folder of the part that was at work.
        place: In words.
        inside: "start" (before the session's first step), "save" (of a checkpoint), "rotation", "model", "facts", "pages", or
            "" (none of them).
        files: What lay in the folder that was being written or removed, the newest last.
        step: The last step that was logged, in this session or an earlier one whose steps it kept.
    """

    part: str
    place: str
    inside: str
    files: tuple[str, ...]
    step: int


def read_lines(run: Path) -> list[dict[str, Any]]:
    """The whole lines of `metrics.jsonl`; a kill may have cut the last."""
    lines = []
    for line in _text(run / "metrics.jsonl").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def steps_since(run: Path, began: float) -> list[int]:
    """The steps of training that were logged since a session began."""
    return [line["step"] for line in read_lines(run) if "loss" in line and line["time"] >= began]


def newest_valid(run: Path) -> int:
    """The step of the newest checkpoint whose files are all there, as its manifest says they are; 0 for none."""
    return max((step for step, folder in checkpoints(run).items() if is_whole(folder)), default=0)


def checkpoints(run: Path) -> dict[int, Path]:
    return {int(folder.name.rpartition("-")[2]): folder for folder in (run / "checkpoints").glob("checkpoint-*")}


def is_whole(folder: Path) -> bool:
    try:
        files = json.loads(_text(folder / "manifest.json"))["files"]
        return bool(files) and all(sha256(folder / name) == facts["sha256"] for name, facts in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names_in(folder: Path) -> list[str]:
    """Every file below a folder, by its path in it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _by_age(folder: Path) -> list[str]:
    return sorted(names_in(folder), key=lambda name: (folder / name).stat().st_mtime_ns)


def is_fresh(path: Path, began: float) -> bool:
    """Whether it was written since a session began."""
    try:
        return path.stat().st_mtime >= began
    except FileNotFoundError:
        return False


def is_complete(run: Path) -> bool:
    try:
        return json.loads(_text(run / "run.json"))["status"] == "complete"
    except (ValueError, KeyError):
        return False


def look(run: Path, parts: tuple[Part, ...], reference: Path, began: float) -> Sight:
    """Finds where a run was killed.

    Args:
        run: The run directory as the kill left it.
        parts: Its parts, in order.
        reference: The run directory of the uninterrupted run: what is whole is known from it.
        began: When the killed session began.
    """
    at_work = [part for part in parts if _touched(run / part.folder, began)]
    part = at_work[-1] if at_work else parts[0]
    folder, whole = run / part.folder, reference / part.folder
    step = max((line["step"] for line in read_lines(folder) if "loss" in line), default=0)
    place, inside, files = _place(folder, whole, began, step)
    return Sight(part.folder, place, inside, tuple(files), step)


def _place(run: Path, whole: Path, began: float, step: int) -> tuple[str, str, list[str]]:
    if is_complete(run):
        missing = sorted(set(names_in(whole)) - set(names_in(run)))
        pages = [name for name in missing if "/" not in name]
        return ("writing the pages", "pages", pages) if pages else ("after its end", "", [])
    model = run / "model"
    if any(is_fresh(draft, began) for draft in run.glob(".run.json.*")) and is_fresh(model, began):
        return "writing run.json", "facts", []
    if is_fresh(model, began):
        names = names_in(model)
        same = all((model / name).stat().st_size == (whole / "model" / name).stat().st_size for name in names)
        saved = names == names_in(whole / "model") and same
        return ("after the save of model/", "", []) if saved else ("inside the save of model/", "model", _by_age(model))
    if not steps_since(run, began):
        return "before its first step", "start", []
    finished = max(
        (number for number, path in checkpoints(run).items() if (path / "manifest.json").is_file()), default=0
    )
    for number, path in sorted(checkpoints(run).items(), reverse=True):
        if (path / "manifest.json").is_file() or not _touched(path, began):
            continue
        if number > finished:
            return f"inside the save of step {number}", "save", _by_age(path)
        return f"removing checkpoint-{number}", "rotation", _by_age(path)
    return f"step {step}", "", []


def _touched(folder: Path, began: float) -> bool:
    return is_fresh(folder, began) or any(is_fresh(path, began) for path in folder.rglob("*"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
