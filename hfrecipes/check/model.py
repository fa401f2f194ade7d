"""Whether the starting model is there, is of a known kind, and can take rows of the length that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hfrecipes.check.hub import hub_file, repository_problems
from hfrecipes.check.missing_runs import maker_of
from hfrecipes.check.promised import is_promised
from hfrecipes.models.adapters import is_adapter, refuse_damaged_adapter
from hfrecipes.models.config import DEPTHS, MOST_LAYERS
from hfrecipes.models.foreign_code import config_problems
from hfrecipes.models.integrity import CONFIG, read_settings, refuse_damaged_model
from hfrecipes.models.rope_config import rope_change
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import DEFAULT_CONTEXT
from hfrecipes.recipe.schema import load_schema
from hfrecipes.recipe.source_list import PROMPTED
from hfrecipes.recipe.validate import nearest
from hfrecipes.tokenization.files import is_folder_name


@dataclass(frozen=True, slots=True)
class StartingModel:
    """What could be found out about the model before loading it.

    Args:
        config: Its config, as far as it is at hand; empty where it is not.
        where: The recipe's place, or the file, that holds the config.
        problems: What is wrong with it.
    """

    config: dict[str, Any]
    where: str
    problems: list[Problem]


def look_at_model(recipe: Recipe, promised: Iterable[Path]) -> StartingModel:
    """Finds the model that a recipe starts from, and reads its config, never its weights."""
    name, here = recipe.get("model.name_or_path"), recipe.where("model.name_or_path")
    if name is None:
        return StartingModel(recipe.get("model.config", {}), recipe.where("model.config"), [])
    if is_promised(name, promised):
        return StartingModel({}, here, [])
    folder = recipe.find_file(name)
    if folder.is_dir():
        return _in_folder(folder / recipe.get("model.subfolder", ""), here)
    if is_folder_name(name) or folder.exists():
        fault = f"{name} is not a folder" if folder.exists() else f"there is no folder {name}"
        fix = None if folder.exists() else maker_of(folder, recipe)
        return StartingModel({}, here, [Problem(here, fault, fix or _folder_fix(folder))])
    return _on_hub(recipe, name, here)


def model_problems(recipe: Recipe, model: StartingModel) -> list[Problem]:
    """What is wrong with the starting model, alone and beside the rest of the recipe."""
    config = {**model.config, **(model.config.get("text_config") or {})}
    return [
        *model.problems,
        *_type_problems(recipe, model),
        *config_problems(model.config, model.where),
        *_shape_problems(config, model.where),
        *position_problems(recipe, config, model.where),
    ]


def context_length(recipe: Recipe) -> tuple[str, int | None]:
    """The key that says how long a row may be, and its number; None where rows are not cut."""
    if recipe.kind == "pretrain":
        return "data.context_length", recipe.get("data.context_length", DEFAULT_CONTEXT)
    if recipe.kind in PROMPTED:
        # Prompts that are not cut are looked at row by row.
        return "training.max_prompt_length", recipe.get("training.max_prompt_length")
    return "training.max_length", recipe.get("training", {}).get("max_length", DEFAULT_CONTEXT)


def _in_folder(folder: Path, here: str) -> StartingModel:
    if is_adapter(folder):
        return StartingModel({}, here, _refusals(refuse_damaged_adapter, folder, here))
    problems, file = _refusals(refuse_damaged_model, folder, here), folder / CONFIG
    try:
        return StartingModel(read_settings(file), str(file), problems)
    except RecipeError:
        return StartingModel({}, here, problems)  # which name it


def _refusals(look: Callable[..., None], folder: Path, here: str) -> list[Problem]:
    """What can be found without reading weights, in which a flipped bit is found when they are loaded."""
    try:
        look(folder, here, hashes=False)
    except RecipeError as error:
        return error.problems
    return []


def _folder_fix(folder: Path) -> str:
    if not folder.parent.is_dir():
        return "give a folder that holds a model (a run's is runs/NAME/model), or a Hub id"
    guess = nearest(folder.name, (entry.name for entry in folder.parent.iterdir() if entry.is_dir()))
    return f"did you mean {folder.parent / guess}?" if guess else "give a folder with a model, or a Hub id"


def _on_hub(recipe: Recipe, name: str, here: str) -> StartingModel:
    revision = recipe.get("model.revision")
    problems = repository_problems(name, "model", revision, here)
    file = hub_file(name, "config.json", revision) if not any(p.severity == "error" for p in problems) else None
    if file is None:
        return StartingModel({}, here, problems)
    return StartingModel(json.loads(file.read_text(encoding="utf-8")), here, problems)


_SIZES = (
    *("hidden_size", "n_embd", "intermediate_size", "num_hidden_layers", "n_layer", "num_attention_heads", "n_head"),
    *("num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings", "n_positions"),
)


def _type_problems(recipe: Recipe, model: StartingModel) -> Iterator[Problem]:
    known = [name for name in load_schema()["$defs"]["configs"] if name]
    said, found = recipe.get("model.model_type"), model.config.get("model_type")
    key = "model.model_type"
    if said is not None and said not in known:
        guess = nearest(said, known)
        fix = f"did you mean {guess}?" if guess else "it stands as model_type in the model's config.json"
        yield Problem(recipe.where(key), f"{key} {said!r} is unknown to this transformers", fix)
    elif said is not None and found is not None and said != found:
        yield Problem(recipe.where(key), f"{key} is {said}, and the model's config says {found}", f"write {found}")
    causal = load_schema()["$defs"]["causal"]
    if (found or said) in known and (found or said) not in causal:
        fault = f"{found or said} is no causal language model, which kind: {recipe.kind} trains"
        yield Problem(model.where, fault, "take a decoder, such as llama, qwen3 or gpt2")
    if recipe.get("model.name_or_path") is not None and not recipe.get("model.trust_remote_code"):
        yield from _own_code_problems(model, found, found in known)


def _own_code_problems(model: StartingModel, model_type: str | None, is_known: bool) -> Iterator[Problem]:
    """A model that brings its class along, and may not run it."""
    brings_code = bool(model.config.get("auto_map"))
    if brings_code and is_known:
        fault = f"the code that comes with the model is not run: transformers' own {model_type} takes its weights"
        fix = (
            "compare what they say, or read that code and set model.trust_remote_code: true and model.revision: COMMIT"
        )
        yield Problem(model.where, fault, fix, "warning")
    elif brings_code:
        fault = f"model_type {model_type!r} is unknown to this transformers, and the code that comes with it is not run"
        fix = "read that code, then set model.trust_remote_code: true and model.revision: COMMIT; or take another model"
        yield Problem(model.where, fault, fix)
    elif model_type is not None and not is_known:
        fix = "upgrade transformers, or take a model that it knows"
        yield Problem(model.where, f"model_type {model_type!r} is unknown to this transformers", fix)


def _shape_problems(config: dict[str, Any], where: str) -> Iterator[Problem]:
    hidden, heads = _number(config, "hidden_size", "n_embd"), _number(config, "num_attention_heads", "n_head")
    key_value_heads = _number(config, "num_key_value_heads")
    for key in _SIZES:
        if isinstance(size := config.get(key), int) and size < 1:
            yield Problem(where, f"{key} is {size}", "it is at least 1")
    for key in DEPTHS:
        if isinstance(depth := config.get(key), int) and depth > MOST_LAYERS:
            yield Problem(where, f"{key} is {depth}", f"it is at most {MOST_LAYERS:,}")
    if hidden and heads and heads > 0 and config.get("head_dim") is None and hidden % heads:
        below = hidden // heads * heads
        fix = f"hidden_size could be {' or '.join(str(size) for size in (below, below + heads) if size)}"
        yield Problem(where, f"hidden_size {hidden} is not a multiple of {heads} attention heads", fix)
    if heads and key_value_heads and key_value_heads > 0 and heads % key_value_heads:
        fits = ", ".join(str(number) for number in range(1, heads + 1) if heads % number == 0)
        fault = f"{heads} attention heads cannot share {key_value_heads} heads of keys and values"
        yield Problem(where, fault, f"num_key_value_heads could be {fits}")


def number_of_positions(config: dict[str, Any]) -> int | None:
    """How long a row a model can read, by its config; None where that does not say it."""
    return _number({**config, **(config.get("text_config") or {})}, "max_position_embeddings", "n_positions")


def position_problems(recipe: Recipe, config: dict[str, Any], where: str) -> Iterator[Problem]:
    """Rows that are longer than what the starting model can read.

    Args:
        recipe: The recipe.
        config: The model's, as far as it is at hand.
        where: Its place, for lengths that the recipe leaves open.
    """
    if rope_change(recipe) is not None:
        return  # they become other ones
    key, length = context_length(recipe)
    positions = number_of_positions(config)
    if length is not None and positions and length > positions:
        fault = f"{key} is {length}, and the model has {positions} positions"
        fix = f"set {key.rpartition('.')[2]} to at most {positions}"
        said = recipe.get(key) is not None
        yield Problem(recipe.where(key) if said else where, fault + ("" if said else " (by default)"), fix)


def _number(config: dict[str, Any], *names: str) -> int | None:
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)
