"""Which tokenizer a recipe uses: its model's, one it names, or one trained on its own text and kept in the cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from hfrecipes.data.formats import function_fingerprint
from hfrecipes.data.prepare import training_texts
from hfrecipes.data.sources import open_sources
from hfrecipes.data.store import make_once
from hfrecipes.models.integrity import refuse_damaged_tokenizer
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.schema import cache_folder
from hfrecipes.tokenization.tokenizer import Tokenizer, train_tokenizer

# Raised when training a tokenizer gives another result for the same text.
EDITION = 1


def tokenizer_location(recipe: Recipe) -> str | Path:
    """The Hub id or folder of the tokenizer; for one that is to be trained, the folder it will have.

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
    """Loads the recipe's tokenizer, training it first where the recipe says so and no earlier run has.

    Returns:
        The tokenizer, and where `AutoTokenizer.from_pretrained` finds it.

    Raises:
        RecipeError: where there is none, or one whose files were cut or are missing. Contents are held against the manifest
            when the model's own tokenizer is loaded: a check that came here must not hash the weights beside it.
    """
    location = tokenizer_location(recipe)
    if isinstance(recipe.get("model.tokenizer"), dict):
        _train_once(recipe, Path(location))
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


def _train_once(recipe: Recipe, folder: Path) -> None:
    vocab_size = recipe.get("model.tokenizer.vocab_size")
    make_once(folder, lambda draft: train_tokenizer(training_texts(recipe), vocab_size, draft))


def _fingerprint(recipe: Recipe) -> str:
    """Of everything that a trained tokenizer depends on: the text, the size, the way of training."""
    specs = [spec for _, spec in recipe.sources("train")]
    functions = [function_fingerprint(spec["format"], recipe.path.parent) for spec in specs if spec.get("format")]
    sources = [(source.revision, spec) for source, spec in zip(open_sources(recipe, "train"), specs, strict=True)]
    parts = {"edition": EDITION, "tokenizer": recipe.get("model.tokenizer"), "sources": sources, "functions": functions}
    if splits := recipe.get("data.splits"):
        parts["splits"] = splits
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]
