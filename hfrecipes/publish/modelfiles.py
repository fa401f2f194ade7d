"""Which files of a run's `model/` may leave the machine, and in what form."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any

from hfrecipes.publish.naming import is_hub_id, portable_value
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

ADAPTER_CONFIG = "adapter_config.json"

# Pattern of a file name, and why it stays. The first match counts.
_STAYS = [
    ("training_args.*", "it can hold a token in clear"),
    ("optimizer.*", "state of the optimizer, of use to nobody who loads the model"),
    ("scheduler.*", "state of the schedule, of use to nobody who loads the model"),
    ("scaler.*", "state of the gradient scaler, of use to nobody who loads the model"),
    ("rng_state*", "state of the random generators, of use to nobody who loads the model"),
    ("manifest.json", "it vouches for the files on this machine; the Hub has hashes of its own"),
    ("trainer_state.json", "state of the trainer; its log is hfrecipes/metrics.jsonl"),
    ("README.md", "the run's own card takes its place"),
    ("*.pkl", "a pickle runs code when it is loaded"),
    ("*.pickle", "a pickle runs code when it is loaded"),
    ("*.joblib", "a pickle runs code when it is loaded"),
    ("*.pt", "a pickle runs code when it is loaded"),
    ("*.pth", "a pickle runs code when it is loaded"),
    ("*.bin", "a pickle runs code when it is loaded"),
    ("*.ckpt", "a pickle runs code when it is loaded"),
    ("*.part", "an unfinished write"),
    ("*.tmp", "an unfinished write"),
]
_STAYING_FOLDERS = [("checkpoint-*", "a checkpoint"), ("checkpoints", "checkpoints"), ("__pycache__", "compiled code")]

# Configuration files into which the libraries write where a model or tokenizer was loaded from.
_CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", ADAPTER_CONFIG)
_ORIGIN_KEYS = ("_name_or_path", "name_or_path")


def choose_model_files(run: RunDir) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The files of `model/` to push, and those that stay with the reason, both in alphabetical order.

    Raises:
        RecipeError: where there is no model, or none in safetensors.
    """
    if not run.model.is_dir():
        raise RecipeError(
            Problem(str(run.path), "has no model/ folder", "finish the run: hfrecipes run RECIPE --resume")
        )
    chosen, staying = [], []
    for path in sorted(run.model.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        reason = _reason_to_stay(path, run)
        if reason:
            staying.append((path, reason))
        else:
            chosen.append(path)
    if not any(path.suffix == ".safetensors" for path in chosen):
        raise RecipeError(
            Problem(str(run.model), "holds no weights in safetensors", "save the model again in safetensors")
        )
    return chosen, staying


def _reason_to_stay(path: Path, run: RunDir) -> str:
    """Why a file is not pushed; empty where it is."""
    parts = path.relative_to(run.model).parts
    if any(part.startswith(".") for part in parts):
        return "a hidden file"
    for folder in parts[:-1]:
        for pattern, reason in _STAYING_FOLDERS:
            if fnmatch.fnmatch(folder, pattern):
                return reason
    for pattern, reason in _STAYS:
        if fnmatch.fnmatch(path.name, pattern):
            return reason
    if not path.resolve().is_relative_to(run.path.resolve()):
        return "a link that leads out of the run directory"
    return "" if path.is_file() else "not a plain file"


def model_file_content(path: Path, base_model: str | None) -> bytes | None:
    """What to push in place of a configuration file that names a folder of this machine; None to push it as it is.

    Args:
        path: A file of `model/`.
        base_model: Hub id to write into an adapter's configuration.

    Raises:
        RecipeError: for an adapter whose base is a folder, which nobody else could load.
    """
    if path.name not in _CONFIGS:
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(Problem(str(path), f"is not valid JSON: {error}", "save the model again")) from None
    changed = _with_base(path, values, base_model) if path.name == ADAPTER_CONFIG else values
    changed = {key: value for key, value in changed.items() if key not in _ORIGIN_KEYS or is_hub_id(value)}
    changed = portable_value(changed)
    return None if changed == values else (json.dumps(changed, indent=2, ensure_ascii=False) + "\n").encode()


def _with_base(path: Path, values: dict[str, Any], base_model: str | None) -> dict[str, Any]:
    """An adapter's configuration that names a base on the Hub."""
    base = values.get("base_model_name_or_path")
    if base_model and base_model != base:
        # The revision belonged to the base that was replaced.
        return values | {"base_model_name_or_path": base_model, "revision": None}
    if is_hub_id(base):
        return values
    message = f"the adapter's base_model_name_or_path is {base!r}, which exists on this machine only"
    fix = "publish the base first, then name it: --base-model OWNER/NAME"
    raise RecipeError(Problem(str(path), message, fix))
