"""Which tokenizer a recipe uses: its model's, one it names, or one trained or extended on its own text, kept in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfrecipes.data.examples import examples_fingerprint
from hfrecipes.data.prepare import training_texts
from hfrecipes.data.sources import open_sources
from hfrecipes.data.store import make_once
from hfrecipes.models.integrity import refuse_damaged_tokenizer
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.schema import cache_folder
from hfrecipes.tokenization.extension import Extension, add_special_tokens, extend_tokenizer, read_extension
from hfrecipes.tokenization.tokenizer import Tokenizer, train_tokenizer

# Raised when training or extending a tokenizer gives another result for the same text.
EDITION = 2
_EXTEND = "model.tokenizer.extend"
# The domain of the sources that an extension is learnt from.
NEW = "new"


def tokenizer_location(recipe: Recipe) -> str | Path:
    """The Hub id or folder of the tokenizer; for one that is to be trained or extended, the folder it will have.

    Raises:
        RecipeError: where the recipe names none.
    """
    named = recipe.get("model.tokenizer")
    if isinstance(named, dict):
        return cache_folder() / "tokenizers" / _fingerprint(recipe)
    named = named or recipe.get("model.name_or_path")
    if named is None:
        fix = "add model.tokenizer: a folder or Hub id, or {vocab_size: 4096} to train one on data.train"
        raise RecipeError(Problem(recipe.where("model"), "a model from a config needs a tokenizer", fix))
    local = recipe.find_file(named)
    return local if local.exists() else named


def obtain_tokenizer(recipe: Recipe) -> tuple[Tokenizer, str]:
    """Loads the recipe's tokenizer, training or extending it first where the recipe says so and no earlier run has.

    Returns:
        The tokenizer, and where `AutoTokenizer.from_pretrained` finds it.

    Raises:
        RecipeError: where there is none, or one whose files were cut or are missing. Contents are held against the manifest
            when the model's own tokenizer is loaded: a check that came here must not hash the weights beside it.
    """
    location = tokenizer_location(recipe)
    if isinstance(recipe.get("model.tokenizer"), dict):
        make_once(Path(location), _extending(recipe) if extends(recipe) else _training(recipe))
    if Path(location).is_dir():
        refuse_damaged_tokenizer(location, hashes=False)
    named_apart = recipe.get("model.tokenizer") is not None
    revision = None if named_apart else recipe.get("model.revision")
    return _as_asked(Tokenizer.load(str(location), revision=revision), recipe), str(location)


def chat_template_of(recipe: Recipe) -> str | None:
    """The template in the file that `training.chat_template_path` names.

    Raises:
        RecipeError: where there is no such file.
    """
    path = recipe.get("training.chat_template_path")
    if path is None:
        return None
    file = recipe.find_file(path)
    if not file.is_file() or file.suffix not in (".jinja", ".j2"):
        fix = "name a .jinja file; to take another model's template, name its tokenizer in model.tokenizer"
        raise RecipeError(Problem(recipe.where("training.chat_template_path"), f"{path} is no template file", fix))
    return file.read_text(encoding="utf-8")


def _as_asked(tokenizer: Tokenizer, recipe: Recipe) -> Tokenizer:
    """With the special tokens and the chat template that `training:` names instead of the tokenizer's own."""
    special = {name: token for name in ("eos_token", "pad_token") if (token := recipe.get(f"training.{name}"))}
    template = chat_template_of(recipe)
    templates = {**tokenizer.chat_templates, **({"default": template} if template else {})}
    special_tokens = {**tokenizer.special_tokens, **special}
    return dataclasses.replace(tokenizer, special_tokens=special_tokens, chat_templates=templates)


def extends(recipe: Recipe) -> bool:
    """Whether the recipe adds pieces, or tokens that it names, to its model's tokenizer."""
    return recipe.get(_EXTEND) is not None


def names_tokens(recipe: Recipe) -> bool:
    """Whether the recipe adds tokens that it names, for which nothing has to be read."""
    return isinstance(recipe.get(_EXTEND), list)


def number_added(recipe: Recipe) -> int:
    """How many entries the recipe adds to its model's tokenizer."""
    added = recipe.get(_EXTEND, 0)
    return len(added) if isinstance(added, list) else added


def without_extension(recipe: Recipe) -> Recipe:
    """The recipe with its model as it is, for a recipe that extends its tokenizer."""
    return recipe.replace(model={**recipe.get("model"), "tokenizer": None})


def extension_of(recipe: Recipe) -> Extension | None:
    """What the recipe adds to its model's tokenizer, once `obtain_tokenizer` has made it; None where it adds nothing."""
    return read_extension(Path(tokenizer_location(recipe))) if extends(recipe) else None


def new_sources(recipe: Recipe) -> list[int]:
    """Which of the training sources an extension is learnt from, by their place.

    Raises:
        RecipeError: where no source is marked as new.
    """
    found = [index for index, (_, spec) in enumerate(recipe.sources("train")) if spec.get("domain") == NEW]
    if not found:
        fix = f"add domain: {NEW} to the training sources that the pieces are to be learnt from"
        raise RecipeError(Problem(recipe.where(_EXTEND), "there is nothing to learn pieces from", fix))
    return found


def _training(recipe: Recipe) -> Callable[[Path], object]:
    vocab_size = recipe.get("model.tokenizer.vocab_size")
    return lambda draft: train_tokenizer(training_texts(recipe), vocab_size, draft)


def _extending(recipe: Recipe) -> Callable[[Path], object]:
    base, _ = obtain_tokenizer(without_extension(recipe))
    count, where = recipe.get(_EXTEND), recipe.where(_EXTEND)
    if names_tokens(recipe):
        return lambda draft: add_special_tokens(base, count, draft, where)
    texts = training_texts(recipe, new_sources(recipe))
    return lambda draft: extend_tokenizer(base, texts, count, draft, where)


def _fingerprint(recipe: Recipe) -> str:
    """Of everything that a trained or extended tokenizer depends on: the text, the size, the way, what is extended."""
    if names_tokens(recipe):
        parts = {"edition": EDITION, "tokenizer": recipe.get("model.tokenizer")}
        return _hash({**parts, "base": obtain_tokenizer(without_extension(recipe))[0].fingerprint})
    opened = zip(recipe.sources("train"), open_sources(recipe, "train"), strict=True)
    sources = [examples_fingerprint(recipe, spec, source, recipe.where(key)) for (key, spec), source in opened]
    parts = {"edition": EDITION, "tokenizer": recipe.get("model.tokenizer"), "sources": sources}
    if extends(recipe):
        parts["base"] = obtain_tokenizer(without_extension(recipe))[0].fingerprint
        parts["sources"] = [sources[index] for index in new_sources(recipe)]
    return _hash(parts)


def _hash(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
