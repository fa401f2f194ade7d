"""The run directory: the only thing that the card, the report, the Space and the next stage read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.secrets import redact, redact_values

# What `run.json` holds under the keys that others read; a key may be missing, and null.
_SHAPES: dict[str, type] = {
    **dict.fromkeys(("name", "kind", "status"), str),
    **dict.fromkeys(("recipe", "versions", "hardware", "model", "training", "plan", "published"), dict),
    **dict.fromkeys(("fingerprint", "marks"), dict),
    **dict.fromkeys(("data", "evaluations", "samples", "warnings", "steps", "command", "sessions", "needles"), list),
    "comparisons": list,
}
_ROWS = ("data", "evaluations", "samples", "steps", "sessions", "needles", "comparisons")
# What a run of `kind: sample` leaves in place of a model, by what a pipeline calls it.
ANSWER_FILES = {"pairs": "pairs.jsonl", "rankings": "rankings.jsonl"}
# What the counters of the libraries can hold.
_MOST_STEPS = 2**63
_DAMAGED = "remove it and say --resume: it is written anew from the last checkpoint"


@dataclass(frozen=True, slots=True)
class RunDir:
    """Names and reads of `runs/<name>/`."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def facts_file(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def row_losses(self) -> Path:
        return self.path / "row-losses.jsonl"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def answers(self) -> Path:
        return self.path / "answers.jsonl"

    @property
    def pairs(self) -> Path:
        return self.path / ANSWER_FILES["pairs"]

    @property
    def rankings(self) -> Path:
        return self.path / ANSWER_FILES["rankings"]

    @property
    def card(self) -> Path:
        return self.path / "README.md"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def facts(self) -> dict[str, Any]:
        """The contents of `run.json`.

        Raises:
            RecipeError: where the folder holds no run, or one whose facts are damaged.
        """
        try:
            facts = json.loads(self.facts_file.read_text(encoding="utf-8"))
            fault = _fault_of(facts)
            if fault is None:
                return facts
            problem = Problem(str(self.facts_file), fault, _DAMAGED)
        except UnicodeDecodeError:
            problem = Problem(str(self.facts_file), "is not UTF-8 text", _DAMAGED)
        except (FileNotFoundError, NotADirectoryError):
            problem = Problem(str(self.path), "is not a run directory: it has no run.json", "give a folder under runs/")
        except OSError as error:
            problem = Problem(str(self.facts_file), f"cannot be read: {error.strerror}")
        except json.JSONDecodeError as error:
            problem = Problem(f"{self.facts_file}:{error.lineno}", f"is not valid JSON: {error.msg}", _DAMAGED)
        except (ValueError, RecursionError):  # a number of thousands of digits, brackets without end
            problem = Problem(str(self.facts_file), "does not hold the facts of a run", _DAMAGED)
        raise RecipeError(problem)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a last line cut short by a kill is left out.

        Raises:
            RecipeError: naming a line before it that is damaged. A resumed run drops such lines by itself.
        """
        if not self.metrics_file.is_file():
            return []
        *lines, last = self.metrics_file.read_text(encoding="utf-8", errors="replace").split("\n")
        entries = [read_metrics_line(line) for line in lines]
        if None in entries:
            place = f"{self.metrics_file}:{entries.index(None) + 1}"
            raise RecipeError(Problem(place, "is damaged: this is no line of a run's log", "take the line out"))
        return [entry for entry in (*entries, read_metrics_line(last)) if entry is not None]

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Replaces `run.json` in one step, so that a reader never sees half of it; secrets are left out of every string."""
        self.path.mkdir(parents=True, exist_ok=True)
        safe = redact_values(facts)
        text = json.dumps(safe, indent=2, ensure_ascii=False, default=lambda value: redact(str(value)))
        write_atomically(self.facts_file, text + "\n")


def _fault_of(facts: Any) -> str | None:
    """Why something is not the facts of a run; None where it is."""
    if not isinstance(facts, dict) or not {"name", "kind"} & facts.keys():
        return "does not hold the facts of a run"
    for key, shape in _SHAPES.items():
        value = facts.get(key)
        rows = value if key in _ROWS and isinstance(value, list) else []
        if not isinstance(value, shape | None) or not all(isinstance(row, dict) for row in rows):
            return f"is damaged: {key} is {type(value).__name__}, which a run does not write there"
    if facts.get("training") and type(facts["training"].get("steps")) is not int:
        return "is damaged: training is without its number of steps"
    if not all(isinstance(session.get("changes"), list | None) for session in facts.get("sessions") or []):
        return "is damaged: sessions is without lists of changes"
    return None


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl` that are whole; none where there is no such file."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    return [entry for line in lines if (entry := read_metrics_line(line)) is not None]


def read_metrics_line(line: str) -> dict[str, Any] | None:
    """One line of `metrics.jsonl`; None where it is not one."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    step = entry.get("step") if isinstance(entry, dict) else None
    return entry if type(step) is int and 0 <= step < _MOST_STEPS else None


def refuse_links(run: RunDir) -> None:
    """Lets a run be read or written only where each of its files lies in the run directory itself.

    The run directory as a whole may be a link, to another disk say: whoever may make names beside the runs could as well
    have made the folder. A link inside it would have a run write, or a publication read, where nobody looks for it.

    Raises:
        RecipeError: naming every link, and all else that is neither a file nor a folder.
    """
    if run.path.is_symlink() and not run.path.is_dir():
        fault = f"is a link to {run.path.readlink()}, which is no folder"
        raise RecipeError(Problem(str(run.path), fault, "make that folder, or remove the link"))
    if not run.path.exists():
        return
    if not run.path.is_dir():
        raise RecipeError(Problem(str(run.path), "is no folder", "remove it, or give the run another name"))
    if problems := [_stranger(path) for path in _strangers(run.path)]:
        raise RecipeError(problems)


def _strangers(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _strangers(Path(entry.path))
            elif not entry.is_file(follow_symlinks=False):
                yield Path(entry.path)


def _stranger(path: Path) -> Problem:
    if path.is_symlink():
        fix = "put the files themselves there; the run directory as a whole may be a link"
        return Problem(str(path), f"is a link, to {path.readlink()}", fix)
    return Problem(str(path), "is neither a file nor a folder", "remove it")


def write_atomically(path: Path, text: str) -> None:
    """Writes text beside `path`, syncs it, renames it over `path`, and syncs the name.

    Raises:
        OSError: where it cannot be written; `path` is then as it was.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a loss of power; without effect where the system cannot open folders."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)


def now() -> str:
    """The time as facts files give it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
