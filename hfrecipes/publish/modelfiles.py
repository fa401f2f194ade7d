"""Which files of a run's `model/` may leave the machine, and in what form."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path
from typing import Any

from hfrecipes.publish.naming import is_hub_id, portable_value
from hfrecipes.recipe.manifest import read_manifest
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

ADAPTER_CONFIG = "adapter_config.json"
# Configurations that name the model which an adapter belongs to.
_ADAPTER_CONFIGS = (ADAPTER_CONFIG, "bottleneck_config.json")
WEIGHTS = ".safetensors"
# The folder of a repository in which a run's recipe, facts, log and report stand.
RECORDS = "hfrecipes"

_STATE = "state of the training, of use to nobody who loads the model"
_PICKLE = "it can run code when it is loaded"
_ARCHIVE = "packed: nobody can see what is in it"
_UNFINISHED = "an unfinished write"
_ADDED = "the run did not write it; to publish it, add it by hand: hf upload REPO FILE"

# Patterns of names in small letters, and why what is called so stays. The first match counts.
_STAYS = [
    ("it can hold a token in clear", ("training_args*", "trainer_args*")),
    ("it vouches for the files on this machine; the Hub has hashes of its own", ("manifest.json",)),
    ("the run's own card takes its place", ("readme.md",)),
    ("state of the trainer; its log is hfrecipes/metrics.jsonl", ("trainer_state*",)),
    (_STATE, ("optimizer*", "scheduler*", "scaler*", "rng_state*", "random_states*", "accumulators*", "*.distcp")),
    (_PICKLE, ("*.pkl", "*.pickle", "*.dill", "*.joblib", "*.sav", "*.npy", "*.npz", "*.mar", "*.pyc")),
    (_PICKLE, ("*.pt", "*.pt2", "*.pth", "*.bin", "*.ckpt", "*.h5", "*.hdf5", "*.keras", "*.nemo")),
    (_ARCHIVE, ("*.zip", "*.gz", "*.tgz", "*.tar", "*.bz2", "*.xz", "*.zst", "*.7z", "*.rar", "*.lz4")),
    (_UNFINISHED, ("*.part", "*.tmp")),
]
_STAYING_FOLDERS = [
    ("a checkpoint", ("checkpoint-*", "checkpoints")),
    ("compiled code", ("__pycache__",)),
    (_STATE, ("optimizer*", "scheduler*", "pytorch_model_fsdp*", "global_step*")),
]
# What a file begins with, whatever it is called. Weights in safetensors begin with the length of their header, which can be
# any number, and are held against that instead.
_BEGINNINGS = [
    (_PICKLE, (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"\x93NUMPY", b"\x89HDF")),
    # What torch.save writes is an archive, too.
    (_ARCHIVE, (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf", b"Rar!")),
]
_LONGEST_BEGINNING = 8

# Configuration files into which the libraries write where a model or tokenizer was loaded from.
_CONFIGS = ("config.json", "tokenizer_config.json", "generation_config.json", *_ADAPTER_CONFIGS)
_ORIGIN_KEYS = ("_name_or_path", "name_or_path")


def choose_model_files(run: RunDir) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The files of `model/` to push, and those that stay with the reason, both in alphabetical order.

    Pushed is what the run wrote, by its manifest, without what nobody needs and what runs code or hides what is in it.

    Raises:
        RecipeError: where there is no model, or none in safetensors.
    """
    if not run.model.is_dir():
        raise RecipeError(
            Problem(str(run.path), "has no model/ folder", "finish the run: hfrecipes run RECIPE --resume")
        )
    written = set((read_manifest(run.model) or {"files": ()})["files"])
    chosen, staying = [], []
    for path in sorted(run.model.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        reason = _reason_to_stay(path, run, written)
        if reason:
            staying.append((path, reason))
        else:
            chosen.append(path)
    if not any(path.suffix == WEIGHTS for path in chosen):
        raise RecipeError(
            Problem(str(run.model), "holds no weights in safetensors", "save the model again in safetensors")
        )
    return chosen, staying


def _reason_to_stay(path: Path, run: RunDir, written: set[str]) -> str:
    """Why a file is not pushed; empty where it is."""
    inside = path.relative_to(run.model)
    *folders, name = inside.as_posix().lower().split("/")
    if any(part.startswith(".") for part in inside.parts):
        return "a hidden file"
    if folders and folders[0] == RECORDS:
        return "the run's own records take its place"
    reasons = [_matching(folder, _STAYING_FOLDERS) for folder in folders] + [_matching(name, _STAYS)]
    if reason := next(filter(None, reasons), ""):
        return reason
    if not path.resolve().is_relative_to(run.path.resolve()):
        return "a link that leads out of the run directory"
    if not path.is_file():
        return "not a plain file"
    return _by_content(path) or ("" if inside.as_posix() in written else _ADDED)


def _matching(name: str, patterns: list[tuple[str, tuple[str, ...]]]) -> str:
    return next((reason for reason, those in patterns if any(fnmatch.fnmatchcase(name, one) for one in those)), "")


def _by_content(path: Path) -> str:
    if path.suffix == WEIGHTS:
        return ""
    with path.open("rb") as file:
        beginning = file.read(_LONGEST_BEGINNING)
    return next((reason for reason, those in _BEGINNINGS if beginning.startswith(those)), "")


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
    changed = _with_base(path, values, base_model) if path.name in _ADAPTER_CONFIGS else values
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
