"""From a recipe's `model:`, `quantization:` and `adapter:` sections to a model on the stock classes, and back from a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, set_seed

from hfrecipes.models import rope_config
from hfrecipes.models.adapter_patterns import refuse_idle_names
from hfrecipes.models.adapters import is_adapter
from hfrecipes.models.bottleneck import add_bottlenecks
from hfrecipes.models.config import build_config, config_fields
from hfrecipes.models.dropout import set_dropout
from hfrecipes.models.extended_embeddings import extend_embeddings, input_rows
from hfrecipes.models.foreign_code import code_words
from hfrecipes.models.freezing import freeze
from hfrecipes.models.integrity import refuse_damaged_tokenizer
from hfrecipes.models.new_rows import train_new_rows
from hfrecipes.models.peft_methods import peft_config
from hfrecipes.models.pretrained import (
    load_pretrained,
    load_pretrained_tokenizer,
    load_with_adapter,
)
from hfrecipes.models.recipe_tokenizer import chat_template_of, extends, extension_of, tokenizer_location
from hfrecipes.models.reward import (
    HEAD,
    classifier_from_config,
    classifier_of,
    is_reward_adapter,
    load_classifier,
    separate_pad,
)
from hfrecipes.models.rope import change_rope, check_rotary
from hfrecipes.models.special_tokens import align_special_tokens
from hfrecipes.recipe.adapter_words import BOTTLENECK, DEFAULTS
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Keys of `model:` that are ours; all others go to `from_pretrained`.
_OUR_KEYS = {
    *("name_or_path", "model_type", "config", "tokenizer", "freeze", "dropout", "trust_remote_code"),
    *rope_config.WORDS,
}
REWARD = "reward"


def load_model(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, *, as_it_was: bool = False
) -> PreTrainedModel | PeftModel:
    """The model that training starts from; random weights depend on `training.seed` alone.

    An adapter's folder as `name_or_path` gives its base with that adapter, ready to be trained further.

    Args:
        recipe: The recipe.
        tokenizer: The model's.
        as_it_was: With the positions it was trained with before, whatever the recipe changes about them, and without what
            the recipe adds to it.

    Raises:
        RecipeError: where the model is damaged or lacks weights, would run code that the recipe does not allow, has no
            rotary positions that could be changed as it asks, or the vocabulary does not fit it.
    """
    set_seed(recipe.get("training.seed", 42))
    model = _from_config(recipe, tokenizer) if recipe.get("model.config") else _from_pretrained(recipe)
    if extension := extension_of(recipe):
        extend_embeddings(model, extension, filled=recipe.get("adapter") is None)
    if recipe.kind == REWARD:
        separate_pad(tokenizer, input_rows(model), recipe.where("model"))
    _check_vocabulary(recipe, model, tokenizer)
    align_special_tokens(model, tokenizer)
    if not as_it_was:
        _change_rope(recipe, model)
        _change_dropout(recipe, model)
        _choose_trained(recipe, model)
    return model


def load_tokenizer(location: str, recipe: Recipe) -> PreTrainedTokenizerBase:
    """The transformers tokenizer that is saved with the model; it always has a pad token.

    Args:
        location: Its folder or Hub id, as `obtain_tokenizer` gives it.
        recipe: The recipe.

    Raises:
        RecipeError: where it is damaged, or would run code that the recipe does not allow.
    """
    where = recipe.where("model.tokenizer" if recipe.get("model.tokenizer") else "model.name_or_path")
    if Path(location).is_dir():
        refuse_damaged_tokenizer(location)
    tokenizer = load_pretrained_tokenizer(location, where, **_tokenizer_words(recipe))
    for name in ("eos_token", "pad_token"):
        if token := recipe.get(f"training.{name}"):
            setattr(tokenizer, name, token)
    if template := chat_template_of(recipe):
        tokenizer.chat_template = template
    if tokenizer.pad_token is None:
        # Labels come from spans, never from the pad id, so padding with the end token does not hide it from the loss.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def adapter_config(recipe: Recipe, model: PreTrainedModel | None = None) -> PeftConfig | None:
    """The peft config of the recipe's `adapter:` section; None for full training, and for adapters that are not peft's.

    Args:
        recipe: The recipe.
        model: What the adapter is put on, for a kind of recipe that may add tokens, whose rows are then trained with it.

    Raises:
        ValueError: where the rows of added tokens cannot be trained.
    """
    section = recipe.get("adapter")
    if section is None or section["method"] == BOTTLENECK:
        return None
    config = peft_config(section, str(tokenizer_location(recipe)))
    if extension := extension_of(recipe):
        train_new_rows(config, model, extension.ids)
    return config


def _tokenizer_words(recipe: Recipe) -> dict[str, Any]:
    """The model's commit and its code go for the model's own tokenizer, not for one that is named apart."""
    if recipe.get("model.tokenizer") is not None:
        return {}
    return {"revision": recipe.get("model.revision"), **code_words(recipe)}


def _from_config(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    config = model_config(recipe, tokenizer)
    dtype = getattr(torch, recipe.get("model.dtype", "float32"))
    implementation = recipe.get("model.attn_implementation")
    keywords = {"attn_implementation": implementation} if implementation else {}
    if recipe.kind == REWARD:
        where = recipe.where("model.config")
        return classifier_from_config(config, where, dtype=dtype, **keywords, **code_words(recipe))
    return AutoModelForCausalLM.from_config(config, dtype=dtype, **keywords, **code_words(recipe))


def model_config(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The config for random weights; what it leaves open follows from the tokenizer and the context.

    Raises:
        RecipeError: where transformers refuses it.
    """
    # Ids can have holes, and then reach beyond their number.
    fields = {"vocab_size": max(tokenizer.get_vocab().values()) + 1, **config_fields(recipe)}
    try:
        config = build_config(fields)
    except ValueError as error:
        raise RecipeError(Problem(recipe.where("model.config"), str(error), "correct it")) from error
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, getattr(tokenizer, name))
    return config


def _from_pretrained(recipe: Recipe) -> PreTrainedModel | PeftModel:
    name = recipe.get("model.name_or_path")
    local = recipe.find_file(name)
    where = recipe.where("model.name_or_path")
    if is_adapter(local):
        return _begin_from_adapter(recipe, local, where)
    words = {key: value for key, value in recipe.get("model").items() if key not in _OUR_KEYS}
    if section := recipe.get("quantization"):
        kept = {"llm_int8_skip_modules": [HEAD]} if recipe.kind == REWARD else {}
        words["quantization_config"] = BitsAndBytesConfig(**{**kept, **section})
    load = load_classifier if recipe.kind == REWARD else load_pretrained
    return load(local if local.exists() else name, where, **words, **code_words(recipe))


def _begin_from_adapter(recipe: Recipe, local: Path, where: str) -> PreTrainedModel | PeftModel:
    """An adapter that is trained further; one of a language model cannot become a reward model's, and is merged for that.

    Raises:
        RecipeError: where a new adapter would stand on a merged model that lies nowhere.
    """
    if recipe.kind != REWARD:
        return load_with_adapter(local, where, trainable=True)
    if is_reward_adapter(local):
        return load_with_adapter(local, where, trainable=True, loader=load_classifier)
    if recipe.get("adapter"):
        fault = f"{local} is an adapter of a language model, on which no other adapter can stand"
        raise RecipeError(Problem(where, fault, "merge it into its base first, or say adapter: null"))
    return classifier_of(load_with_adapter(local, where, trainable=True).merge_and_unload(), where)


def _change_rope(recipe: Recipe, model: PreTrainedModel | PeftModel) -> None:
    """Gives the model the rotary positions that the recipe asks for, and looks whether it has those of its config."""
    where = recipe.where("model.rope_parameters")
    if change := rope_config.rope_change(recipe):
        try:
            change_rope(model, change)
        except ValueError as error:
            fix = "correct model.rope_parameters, or remove it"
            raise RecipeError(Problem(where, f"the model's positions cannot be changed: {error}", fix)) from error
    if faults := check_rotary(model):
        fix = "rebuild the rotary modules after the config is changed, as models/rope.py does"
        raise RecipeError(
            [Problem(where, f"the model does not turn as its config says: {fault}", fix) for fault in faults]
        )


def _change_dropout(recipe: Recipe, model: PreTrainedModel | PeftModel) -> None:
    """Has the parts that the recipe names drop out what it says."""
    try:
        set_dropout(getattr(model, "get_base_model", lambda: model)(), recipe.get("model.dropout") or {})
    except ValueError as error:
        where = recipe.where("model.dropout")
        raise RecipeError(Problem(where, f"model.dropout: {error}", "remove that part")) from error


def _choose_trained(recipe: Recipe, model: PreTrainedModel | PeftModel) -> None:
    """Freezes what the recipe says, or puts adapters of our own beside the model; those of peft come with the trainer."""
    section = recipe.get("adapter") or {}
    try:
        if frozen := recipe.get("model.freeze"):
            freeze(model, frozen)
            if extends(recipe) and not model.get_input_embeddings().weight.requires_grad:
                raise ValueError("model.freeze keeps the rows of added tokens as they begin: leave the embeddings out")
        refuse_idle_names(section, model)
        if section.get("method") == BOTTLENECK:
            add_bottlenecks(model, base=base_of(recipe), **{**DEFAULTS[BOTTLENECK], **_without_method(section)})
    except ValueError as error:
        where = recipe.where("model.freeze" if recipe.get("model.freeze") else "adapter")
        raise RecipeError(Problem(where, str(error), "correct it; `hfrecipes plan` counts what is trained")) from error


def _without_method(section: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in section.items() if key != "method" and value is not None}


def base_of(recipe: Recipe) -> tuple[str, str | None]:
    """What an adapter names as its base, which others can follow: a Hub id with its revision, or an absolute path."""
    name = recipe.get("model.name_or_path")
    if name is None:
        return "", None
    local = recipe.find_file(name)
    return (str(local.resolve()), None) if local.exists() else (name, recipe.get("model.revision"))


def _check_vocabulary(recipe: Recipe, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = input_rows(model)
    if len(tokenizer) > rows:
        fault = f"the tokenizer has {len(tokenizer)} tokens, the model's embedding {rows} rows"
        raise RecipeError(
            Problem(recipe.where("model"), fault, "use the model's own tokenizer, or a larger vocab_size")
        )
