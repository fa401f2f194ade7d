"""The run directory: the only thing that the card, the report, the Space and the next stage read."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hfrecipes.recipe.problem import Problem, RecipeError


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
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

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
            if isinstance(facts, dict) and {"name", "kind"} & facts.keys():
                return facts
            problem = Problem(str(self.facts_file), "does not hold the facts of a run", "run it again")
        except UnicodeDecodeError:
            problem = Problem(str(self.facts_file), "is not UTF-8 text", "run it again")
        except (FileNotFoundError, NotADirectoryError):
            problem = Problem(str(self.path), "is not a run directory: it has no run.json", "give a folder under runs/")
        except json.JSONDecodeError as error:
            problem = Problem(f"{self.facts_file}:{error.lineno}", f"is not valid JSON: {error.msg}", "run it again")
        raise RecipeError(problem)

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`; a last line cut short by a kill is left out."""
        if not self.metrics_file.is_file():
            return []
        lines = self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Replaces `run.json` in one step, so that a reader never sees half of it."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.facts_file, json.dumps(facts, indent=2, ensure_ascii=False, default=str) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Writes text beside `path`, syncs it, then renames it over `path`."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def now() -> str:
    """The time as facts files give it: UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
