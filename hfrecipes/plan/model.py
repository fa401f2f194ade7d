"""Which model a recipe trains, as far as it can be known without its weights."""

from __future__ import annotations

import copy
import json
from typing import Any

from hfrecipes.models.adapters import adapter_base, trained_tokens
from hfrecipes.models.config import build_config, config_fields, embedding_rows
from hfrecipes.models.integrity import read_settings
from hfrecipes.models.peft_methods import METHOD_OF_TYPE
from hfrecipes.models.recipe_tokenizer import extends, number_added
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

_ADAPTER = "adapter_config.json"
# The words of an adapter's config that decide how many parameters it has.
_COUNTED_WORDS = (
    *("r", "target_modules", "modules_to_save", "rank_pattern", "use_dora", "bias", "target_parameters"),
    *("exclude_modules", "layers_to_transform", "layers_pattern", "feedforward_modules", "num_virtual_tokens"),
    *("prefix_projection", "encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers"),
    "trainable_token_indices",
)


def planned_config(recipe: Recipe, vocab_size: int | None) -> Any:
    """The transformers config of the model; a `Problem` that says why, where it cannot be had.

    Args:
        recipe: The recipe.
        vocab_size: Size of the tokenizer, for a config that leaves it open, and one whose tokenizer is extended; None where it
            is not known.

    Raises:
        RecipeError: where transformers refuses the config that the recipe spells out.
    """
    if recipe.get("model.config"):
        return _from_recipe(recipe, vocab_size)
    name = recipe.get("model.name_or_path")
    local = recipe.find_file(name)
    if (local / _ADAPTER).is_file() and not (local / "config.json").is_file():
        config = _from_pretrained(recipe, *adapter_base(local))
        tokens = trained_tokens(read_settings(local / _ADAPTER))
        if isinstance(config, Problem) or max(tokens, default=-1) < config.get_text_config().vocab_size:
            return config
        return _resized(config, max(tokens) + 1)
    config = _from_pretrained(recipe, str(local) if local.exists() else name, recipe.get("model.revision"))
    return with_new_rows(recipe, config, vocab_size)


def with_new_rows(recipe: Recipe, config: Any, vocab_size: int | None) -> Any:
    """The config of a starting model, where it is known, with rows for what a recipe adds to its tokenizer."""
    if config is None or isinstance(config, Problem) or vocab_size is None or not extends(recipe):
        return config
    rows = config.get_text_config().vocab_size
    # As in a run: a base for an adapter is not filled up.
    return _resized(config, max(vocab_size, rows) if recipe.get("adapter") else embedding_rows(vocab_size, rows))


def _resized(config: Any, rows: int) -> Any:
    resized = copy.deepcopy(config)
    resized.get_text_config().vocab_size = rows
    return resized


def new_token_ids(recipe: Recipe, vocab_size: int | None) -> range | None:
    """Ids that a recipe adds to its model's tokenizer, which are the last ones; None where it adds none."""
    if vocab_size is None or not extends(recipe):
        return None
    return range(vocab_size - number_added(recipe), vocab_size)


def trained_adapter(recipe: Recipe) -> dict[str, Any] | None:
    """The adapter that is trained: the recipe's, or the one in the folder that training starts from.

    A reward model merges a language model's adapter into its base and is trained whole; one of a reward model goes on.
    """
    if recipe.get("adapter") or not recipe.get("model.name_or_path"):
        return recipe.get("adapter")
    file = recipe.find_file(recipe.get("model.name_or_path")) / _ADAPTER
    if not file.is_file():
        return None
    settings = json.loads(file.read_text(encoding="utf-8"))
    if recipe.kind == "reward" and settings.get("task_type") != "SEQ_CLS":
        return None
    method = METHOD_OF_TYPE.get(settings.get("peft_type"), "lora")
    return {"method": method, **{word: settings[word] for word in _COUNTED_WORDS if settings.get(word) is not None}}


def _from_recipe(recipe: Recipe, vocab_size: int | None) -> Any:
    fields = config_fields(recipe)
    if "vocab_size" not in fields and vocab_size is None:
        fault = "model.config.vocab_size follows from a tokenizer that is not at hand"
        return Problem(recipe.where("model"), fault, "say model.config.vocab_size to plan without it", "unchecked")
    fields.setdefault("vocab_size", vocab_size)
    try:
        return build_config(fields)
    except ValueError as error:
        problem = Problem(recipe.where("model.config"), f"transformers refuses this config: {error}", "correct it")
        raise RecipeError(problem) from error


def _from_pretrained(recipe: Recipe, name: str, revision: str | None) -> Any:
    from transformers import AutoConfig

    where = recipe.where("model.name_or_path")
    try:
        # Remote code is run by a run that was asked to, never by a plan.
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        fix = "plan where the Hub can be reached, or after one run has cached it"
        return Problem(
            where, f"the config of {name} cannot be had, so its size is not known: {reason}", fix, "unchecked"
        )
