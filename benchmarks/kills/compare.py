"""What a run that was killed and resumed differs in from the uninterrupted one; nothing, if all is well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .sight import checkpoints, names_in, read_lines, sha256
from .trainings import Part

# Of a log line and of run.json's `training`: how long it took, never what came out.
_TIMES = ("time", "runtime", "per_second", "seconds", "tokens_per_second", "peak_memory_bytes")
_FACTS = ("status", "kind", "recipe", "model", "data", "evaluations", "samples")
# They hold times, or the hash of a file that does.
_TIMED_FILES = ("trainer_state.json", "manifest.json", "training_args.bin")


def differences(reference: Path, run: Path, parts: tuple[Part, ...]) -> list[str]:
    """Compares two finished runs: weights and all else in model/, losses, evaluations, checkpoints, which files there are."""
    found = _names(reference, run, "")
    for part in parts:
        ours, theirs = run / part.folder, reference / part.folder
        here = [*_same_bytes(theirs, ours, "model"), *_metrics(theirs, ours), *_facts(theirs, ours)]
        here += _same_bytes(theirs, ours, f"checkpoints/checkpoint-{max(checkpoints(theirs))}", _TIMED_FILES)
        if (ours / "recipe.yaml").read_text() != (theirs / "recipe.yaml").read_text():
            here.append("recipe.yaml")
        found += [f"{part.folder}: {text}" if part.folder else text for text in here]
    return found


def _names(reference: Path, run: Path, folder: str) -> list[str]:
    theirs, ours = set(names_in(reference / folder)), set(names_in(run / folder))
    return [f"{name} is missing" for name in sorted(theirs - ours)] + [
        f"{name} is left" for name in sorted(ours - theirs)
    ]


def _same_bytes(reference: Path, run: Path, folder: str, but: tuple[str, ...] = ()) -> list[str]:
    names = [name for name in names_in(reference / folder) if name not in but and (run / folder / name).is_file()]
    return [f"{folder}/{name}" for name in names if sha256(run / folder / name) != sha256(reference / folder / name)]


def _metrics(reference: Path, run: Path) -> list[str]:
    theirs, ours = ([_untimed(line) for line in read_lines(each)] for each in (reference, run))
    if theirs == ours:
        return []
    pairs = zip(theirs, ours, strict=False)
    first = next((f"{left} became {right}" for left, right in pairs if left != right), "")
    return [f"metrics.jsonl ({len(theirs)} lines, {len(ours)} lines) {first}"]


def _facts(reference: Path, run: Path) -> list[str]:
    theirs, ours = (json.loads((each / "run.json").read_text(encoding="utf-8")) for each in (reference, run))
    found = [f"run.json: {key}" for key in _FACTS if theirs.get(key) != ours.get(key)]
    before, after = _untimed(theirs["training"]), _untimed(ours["training"])
    return found + [
        f"run.json: training.{key}: {before[key]} became {after.get(key)}"
        for key in before
        if before[key] != after.get(key)
    ]


def _untimed(facts: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in facts.items() if not key.endswith(_TIMES)}
