"""Code that comes with a model: run only where the recipe says so, at a commit that it names. Imports no torch.

Code reaches a process through `auto_map` in a config, which names classes of the repository or of another one, and through
an attention implementation that is named by a repository of kernels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import Any

from hfrecipes.models.integrity import CONFIG, named_at, read_settings
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

_COMMIT = re.compile(r"[0-9a-f]{40}")
# As transformers reads it: repository, revision, and the function where it is not the usual one.
_PINNED_KERNEL = re.compile(r"[^/:@|]+/[^/:@|]+@[0-9a-f]{40}(:[^/:@|]+)?")
_ATTENTION_KEYS = ("attn_implementation", "_attn_implementation")


def code_problems(recipe: Recipe) -> Iterator[Problem]:
    """What a recipe asks for that would run code which nobody has read, or read a folder that it does not name."""
    yield from _subfolder_problems(recipe)
    yield from _remote_code_problems(recipe)
    yield from _kernel_problems(recipe)


def code_words(recipe: Recipe) -> dict[str, Any]:
    """The keywords with which `from_pretrained` runs the code that the recipe allows, and no other.

    `trust_remote_code` is always said: left open, transformers asks on the terminal. `code_revision` holds code of another
    repository to the same commit; code that such a commit does not have is not run.

    Raises:
        RecipeError: where the recipe allows code at no commit.
    """
    if problems := list(code_problems(recipe)):
        raise RecipeError(problems)
    if not recipe.get("model.trust_remote_code"):
        return {"trust_remote_code": False}
    return {"trust_remote_code": True, "code_revision": recipe.get("model.revision")}


def config_problems(config: dict[str, Any], where: str) -> Iterator[Problem]:
    """Kernels that a config asks for by itself: transformers would fetch and run them.

    Args:
        config: A model's `config.json`.
        where: Its place.
    """
    for key in _ATTENTION_KEYS:
        asked = config.get(key)
        names = asked.values() if isinstance(asked, dict) else [asked]
        for name in names:
            if isinstance(name, str) and "/" in name:
                fix = f"remove {key} from it; a recipe names a kernel at a commit, in model.attn_implementation"
                yield Problem(where, f"{key} is {name}, a kernel that would be fetched and run", fix)
    for inner in config.values():
        if isinstance(inner, dict):
            yield from config_problems(inner, where)


def is_commit(revision: Any) -> bool:
    """Whether a revision is a whole commit hash, which alone cannot come to mean something else."""
    return isinstance(revision, str) and _COMMIT.fullmatch(revision) is not None


def _subfolder_problems(recipe: Recipe) -> Iterator[Problem]:
    key = "model.subfolder"
    place = PurePath(recipe.get(key, ""))
    if place.is_absolute() or ".." in place.parts:
        fix = "name the model's own folder, in model.name_or_path"
        yield Problem(recipe.where(key), f"{key} {place} leads out of model.name_or_path", fix)


def _remote_code_problems(recipe: Recipe) -> Iterator[Problem]:
    name = recipe.get("model.name_or_path")
    if not recipe.get("model.trust_remote_code") or name is None or is_commit(recipe.get("model.revision")):
        return
    folder, where = recipe.find_file(name), recipe.where("model.trust_remote_code")
    fix = "add model.revision: the 40-digit commit you have read"
    if folder.is_dir():
        # What lies on this machine is what its owner has read, unless it points elsewhere.
        subfolder = str(recipe.get("model.subfolder", ""))
        for lender in sorted({*_lenders(folder), *_lenders(folder / subfolder)}):
            yield Problem(where, f"{folder} borrows its code from {lender}, at no pinned revision", fix)
        return
    yield Problem(where, "model.trust_remote_code runs code that its owner can change, at no pinned revision", fix)


def _lenders(folder: Path) -> list[str]:
    """The Hub repositories whose code a folder's `auto_map` names. A file that cannot be read is said elsewhere."""
    classes: list[str] = []
    for name in (CONFIG, "tokenizer_config.json"):
        with suppress(RecipeError):
            classes += [name for auto_map in _auto_maps(read_settings(folder / name)) for name in _leaves(auto_map)]
    return sorted({name.partition("--")[0] for name in classes if "--" in name})


def _auto_maps(settings: Any) -> Iterator[Any]:
    """At any depth: the config of a composite model holds those of its parts."""
    if isinstance(settings, dict):
        yield settings.get("auto_map")
        for inner in settings.values():
            yield from _auto_maps(inner)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)


def _kernel_problems(recipe: Recipe) -> Iterator[Problem]:
    key = "model.attn_implementation"
    name = str(recipe.get(key, ""))
    if "/" in name and not _PINNED_KERNEL.fullmatch(name):
        fault = f"{key} {name} downloads and runs a kernel that its owner can change, at no pinned revision"
        repository = re.split("[@:]", name)[0]
        yield Problem(recipe.where(key), fault, f"write {repository}@COMMIT, with the 40-digit commit you have read")
    if name == "flash_attention_3" and find_spec("kernels") and not find_spec("flash_attn_interface"):
        fault = f"{key} {name} is not installed, and would be fetched from the Hub at no pinned revision"
        yield Problem(recipe.where(key), fault, "install it, or take sdpa")
    if recipe.get("model.use_kernels"):
        key = "model.use_kernels"
        fault = f"{key} downloads and runs kernels of transformers' choice, which a recipe cannot pin"
        fix = "remove it; an attention kernel can be named at a commit, in model.attn_implementation"
        yield Problem(recipe.where(key), fault, fix)


def refuse_config_code(config: dict[str, Any], place: str, where: str | None) -> None:
    """Makes sure that loading a model with this config fetches no kernel.

    Raises:
        RecipeError: naming the key of the config.
    """
    if problems := list(config_problems(config, place)):
        raise RecipeError(problems if where is None else [named_at(where, problem) for problem in problems])
