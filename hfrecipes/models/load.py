"""From a recipe's `model:`, `quantization:` and `adapter:` sections to a model on the stock classes, and back from a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, set_seed

from hfrecipes.models import rope_config
from hfrecipes.models.adapters import is_adapter
from hfrecipes.models.config import build_config, config_fields
from hfrecipes.models.extended_embeddings import extend_embeddings
from hfrecipes.models.foreign_code import code_words
from hfrecipes.models.integrity import refuse_damaged_tokenizer
from hfrecipes.models.pretrained import load_pretrained, load_pretrained_tokenizer, load_with_adapter
from hfrecipes.models.recipe_tokenizer import chat_template_of, extension_of
from hfrecipes.models.rope import change_rope, check_rotary
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# Keys of `model:` that are ours; all others go to `from_pretrained`.
_OUR_KEYS = {"name_or_path", "model_type", "config", "tokenizer", "trust_remote_code", *rope_config.WORDS}
TURN_END = "<|im_end|>"


def load_model(
    recipe: Recipe, tokenizer: PreTrainedTokenizerBase, *, as_it_was: bool = False
) -> PreTrainedModel | PeftModel:
    """The model that training starts from; random weights depend on `training.seed` alone.

    An adapter's folder as `name_or_path` gives its base with that adapter, ready to be trained further.

    Args:
        recipe: The recipe.
        tokenizer: The model's.
        as_it_was: With the positions it was trained with before, whatever the recipe changes about them.

    Raises:
        RecipeError: where the model is damaged or lacks weights, would run code that the recipe does not allow, has no
            rotary positions that could be changed as it asks, or the vocabulary does not fit it.
    """
    set_seed(recipe.get("training.seed", 42))
    model = _from_config(recipe, tokenizer) if recipe.get("model.config") else _from_pretrained(recipe)
    if extension := extension_of(recipe):
        extend_embeddings(model, extension)
    _check_vocabulary(recipe, model, tokenizer)
    _align_special_tokens(model, tokenizer)
    if not as_it_was:
        _change_rope(recipe, model)
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


def adapter_config(recipe: Recipe) -> PeftConfig | None:
    """The peft config of the recipe's `adapter:` section; None for full training."""
    section = recipe.get("adapter")
    if section is None:
        return None
    from peft import LoraConfig

    words = {key: value for key, value in section.items() if key != "method"}
    return LoraConfig(task_type="CAUSAL_LM", **words)


def load_run_model(run: RunDir) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """The trained model of a run, as anyone would load it: plain `from_pretrained`, or `PeftModel` on its base.

    Raises:
        RecipeError: where the run has no model, or a damaged one.
    """
    folder = _model_folder(run)
    if not (folder / "config.json").is_file() and not is_adapter(folder):
        raise RecipeError(Problem(str(folder), "holds no model", "give a finished run, or a model's folder"))
    model = load_with_adapter(folder, trainable=False) if is_adapter(folder) else load_pretrained(folder)
    return model.eval(), load_run_tokenizer(run)


def load_run_tokenizer(run: RunDir) -> PreTrainedTokenizerBase:
    """The tokenizer of a run's model.

    Raises:
        RecipeError: where there is none, or a damaged one.
    """
    refuse_damaged_tokenizer(_model_folder(run))
    return load_pretrained_tokenizer(_model_folder(run))


def _model_folder(run: RunDir) -> Path:
    """The folder of a run's model; a model's folder may be given as if it were a run's."""
    return run.model if run.model.is_dir() else run.path


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
        return load_with_adapter(local, where, trainable=True)
    words = {key: value for key, value in recipe.get("model").items() if key not in _OUR_KEYS}
    if section := recipe.get("quantization"):
        words["quantization_config"] = BitsAndBytesConfig(**section)
    return load_pretrained(local if local.exists() else name, where, **words, **code_words(recipe))


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


def _check_vocabulary(recipe: Recipe, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        fault = f"the tokenizer has {len(tokenizer)} tokens, the model's embedding {rows} rows"
        raise RecipeError(
            Problem(recipe.where("model"), fault, "use the model's own tokenizer, or a larger vocab_size")
        )


def _align_special_tokens(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Generation ends at the end of a document and, where the chat template has one, at the end of a turn."""
    config, generation = model.config.get_text_config(), model.generation_config
    config.pad_token_id = generation.pad_token_id = tokenizer.pad_token_id
    ends = generation.eos_token_id if isinstance(generation.eos_token_id, list) else [generation.eos_token_id]
    ends = [token for token in ends if token is not None]
    for token in (tokenizer.eos_token_id, _turn_end(tokenizer)):
        if token is not None and token not in ends:
            ends.append(token)
    if ends:
        generation.eos_token_id = ends if len(ends) > 1 else ends[0]


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    marked = tokenizer.chat_template and TURN_END in str(tokenizer.chat_template)
    return tokenizer.convert_tokens_to_ids(TURN_END) if marked else None
