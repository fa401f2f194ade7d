"""Whether a model's folder holds what was saved into it, found out before any of it is used. Imports no torch.

What a run saved has a manifest, which finds every changed byte. Any other folder is held against itself: a cut or emptied
file shows, a flipped bit among the weights does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfrecipes.recipe.manifest import MANIFEST, faults_of
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# Adapters of our own, which peft does not know.
BOTTLENECK_CONFIG, BOTTLENECK_WEIGHTS = "bottleneck_config.json", "bottleneck.safetensors"
_SETTINGS = (
    CONFIG,
    ADAPTER_CONFIG,
    BOTTLENECK_CONFIG,
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
# Of a folder in which everything is wrong, this many faults are named.
_SHOWN = 5
# Hashing 16 GB takes ten seconds, and tokenizer, model and the model to compare with can lie in one folder: what this
# process has found whole, and what its files looked like then.
_found_whole: dict[Path, list[tuple[int, ...]]] = {}


def refuse_damaged_model(folder: str | Path, where: str | None = None, *, hashes: bool = True) -> None:
    """Makes sure that a model or an adapter in a folder is whole, and that its weights are no pickle.

    Args:
        folder: What `save_pretrained` wrote.
        where: The place that named it; the folder itself where nothing did.
        hashes: Whether contents are held against the manifest; else only which files there are, and their sizes.

    Raises:
        RecipeError: naming the files that are cut, changed, missing or not what they should be.
    """
    if problems := folder_problems(folder, hashes=hashes):
        raise RecipeError(problems if where is None else [named_at(where, problem) for problem in problems])


def refuse_damaged_tokenizer(folder: str | Path, *, hashes: bool = True) -> None:
    """As `refuse_damaged_model`; weights of a folder without a manifest are not looked at, since none are used.

    Raises:
        RecipeError: naming the files.
    """
    if problems := _problems(Path(folder), hashes, weights=False):
        raise RecipeError(problems)


def folder_problems(folder: str | Path, *, hashes: bool = True) -> list[Problem]:
    """What is wrong with the model in a folder, each problem at its file or folder."""
    return _problems(Path(folder), hashes, weights=True)


def named_at(where: str, problem: Problem) -> Problem:
    """A problem of a folder as a problem of the place that named the folder."""
    return Problem(where, f"{problem.where}: {problem.message}", problem.fix, problem.severity)


def read_settings(file: Path) -> dict[str, Any]:
    """The object in one of a model's JSON files.

    Raises:
        RecipeError: where it holds none.
    """
    fix = "fetch or save it again"
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RecipeError(Problem(f"{file}:{error.lineno}", f"is not valid JSON: {error.msg}", fix)) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(Problem(str(file), f"cannot be read: {error}", fix)) from None
    if not isinstance(settings, dict):
        raise RecipeError(Problem(str(file), f"holds a {type(settings).__name__}, not settings by name", fix))
    return settings


def tensor_names(file: Path) -> set[str]:
    """The names in a safetensors file, of which the header alone is read.

    Raises:
        RecipeError: where the header is damaged, or the file shorter or longer than it says.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            return set(tensors.keys())
    except (SafetensorError, OSError, ValueError) as error:
        size = f"; it has {file.stat().st_size} bytes" if file.is_file() else ""
        problem = Problem(str(file), f"is cut short or damaged: {error}{size}", "fetch or save it again")
        raise RecipeError(problem) from None


def _problems(folder: Path, hashes: bool, weights: bool) -> list[Problem]:
    saved = _is_of_a_run(folder) or _has_manifest(folder)
    problems = list(_saved_problems(folder, hashes) if saved else _foreign_problems(folder, weights))
    if len(problems) > _SHOWN:
        more = Problem(str(folder), f"and {len(problems) - _SHOWN} more", problems[0].fix)
        return [*problems[:_SHOWN], more]
    return problems


# What a run saved


def _is_of_a_run(folder: Path) -> bool:
    folder = folder.resolve()
    run = RunDir(folder.parent.parent if folder.parent.name == "checkpoints" else folder.parent)
    return folder in (run.model, run.checkpoints / folder.name) and run.facts_file.is_file()


def _has_manifest(folder: Path) -> bool:
    """Whether there is a manifest of ours, whole or cut; other programs have files of that name too."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except OSError:
        return False
    except (ValueError, RecursionError):
        return True
    return isinstance(manifest, dict) and isinstance(manifest.get("files"), dict)


def _saved_problems(folder: Path, hashes: bool) -> Iterator[Problem]:
    if not (folder / MANIFEST).is_file():
        fix = "finish it: hfrecipes run RECIPE --resume"
        yield Problem(str(folder), f"the save was not finished: there is no {MANIFEST}", fix)
        return
    fix = "restore it from a copy, or run it again; what was changed on purpose belongs in a copy without " + MANIFEST
    faults = [*_links_out(folder), *_manifest_faults(folder.resolve(), hashes)]
    for fault in dict.fromkeys(faults):
        yield Problem(str(folder), fault, fix)


def _manifest_faults(folder: Path, hashes: bool) -> list[str]:
    before = _looks(folder)
    known = _found_whole.get(folder) == before
    faults = faults_of(folder, hashes=hashes and not known, others=False)
    if hashes and not faults:
        _found_whole[folder] = before
    return faults


def _looks(folder: Path) -> list[tuple[int, ...]]:
    """What changes when any file of a folder is written."""
    stats = [path.lstat() for path in sorted(folder.rglob("*"))]
    return [(stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats]


def _links_out(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_symlink() and not inside.parts[0].startswith(".") and not _ends_within(path, folder):
            yield f"{inside.as_posix()} is a link that leads out of the folder"


def _ends_within(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links that lead to themselves
        return False


# What others saved


def _foreign_problems(folder: Path, weights: bool) -> Iterator[Problem]:
    for name in _SETTINGS:
        if (folder / name).exists():
            yield from _refusal(read_settings, folder / name)
    if not weights:
        return
    if (folder / ADAPTER_CONFIG).is_file():
        yield from _weight_problems(folder, ADAPTER_WEIGHTS)
    elif (folder / BOTTLENECK_CONFIG).is_file():
        yield from _weight_problems(folder, BOTTLENECK_WEIGHTS)
    elif (folder / CONFIG).is_file():
        yield from _weight_problems(folder, "*.safetensors")
    else:
        fault = f"holds no model: it has neither {CONFIG} nor {ADAPTER_CONFIG}"
        yield Problem(str(folder), fault, "give a folder that save_pretrained wrote")


def _weight_problems(folder: Path, pattern: str) -> Iterator[Problem]:
    files = sorted(folder.glob(pattern))
    for file in files:
        yield from _refusal(tensor_names, file)
    for index in sorted(folder.glob("*.safetensors.index*.json")):
        yield from _refusal(_check_index, index)
    if files:
        return
    pickled = sorted(file.name for pickle in _PICKLES for file in folder.glob(pickle) if _holds_weights(file))
    if pickled:
        fault = f"the weights are pickled ({pickled[0]}), which can run code as they load"
        yield Problem(str(folder), fault, _conversion(folder, pickled[0], pattern))
    else:
        yield Problem(str(folder), "holds a config and no weights", "fetch or save it again")


def _holds_weights(file: Path) -> bool:
    return not file.name.startswith(("training_args", "optimizer", "scheduler", "scaler", "rng_state"))


def _conversion(folder: Path, pickled: str, pattern: str) -> str:
    if pattern == ADAPTER_WEIGHTS:
        call = f'safetensors.torch.save_file(torch.load("{pickled}", weights_only=True), "{ADAPTER_WEIGHTS}")'
    else:
        call = f'AutoModelForCausalLM.from_pretrained("{folder}", use_safetensors=False).save_pretrained("NEW")'
    return f"save them as safetensors, where you trust them: {call}"


def _check_index(index: Path) -> None:
    """Makes sure that the files which an index names lie beside it and hold the tensors that it promises."""
    fix = "fetch or save the model again"
    places = read_settings(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise RecipeError(Problem(str(index), "has no weight_map of tensors to files", fix))
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise RecipeError(Problem(str(index), f"names {name}, which lies elsewhere", fix))
        file = index.with_name(name)
        if not file.is_file():
            raise RecipeError(Problem(str(index), f"names {name}, which is missing", fix))
        promised = {tensor for tensor, place in places.items() if place == name}
        if lacking := sorted(promised - tensor_names(file)):
            raise RecipeError(Problem(str(file), f"lacks {listed(lacking)}, which {index.name} promises", fix))


def listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _refusal(look: Any, file: Path) -> list[Problem]:
    try:
        look(file)
    except RecipeError as error:
        return error.problems
    return []
