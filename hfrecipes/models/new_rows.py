"""New tokens under an adapter: their rows of the embeddings are trained beside it, and its base has to have them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfrecipes.models.adapters import is_adapter, trained_tokens
from hfrecipes.models.integrity import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_settings

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

# peft's names for a base's tensors begin with this.
_PREFIX = "base_model.model."


def train_new_rows(config: PeftConfig, model: Any, ids: Sequence[int]) -> None:
    """Has an adapter train the rows of new tokens, too.

    LoRA trains these rows alone (`trainable_token_indices`, also of tied embeddings). What peft has no such means for trains
    the whole matrices (`modules_to_save`); tied ones are two from then on. So does LoRA with an output layer that has a bias,
    which peft leaves out where it trains rows (0.21).

    Args:
        config: Of the adapter, changed in place.
        model: The base, with the rows.
        ids: Of the new tokens.

    Raises:
        ValueError: where the recipe says itself which rows are trained, or an adapter of this kind can train none.
    """
    if config.is_prompt_learning or not hasattr(config, "modules_to_save"):
        raise ValueError(f"{type(config).__name__} has no means to train the rows of new tokens")
    if getattr(config, "trainable_token_indices", None):
        raise ValueError(
            "trainable_token_indices stands beside model.tokenizer.extend, which says which rows are trained"
        )
    head = model.get_output_embeddings()
    tied = head is not None and head.weight is model.get_input_embeddings().weight
    whole = set(config.modules_to_save or ())
    names = [name for name in embedding_names(model) if not whole & {name, name.rpartition(".")[2]}]
    if not names or (whole and tied and len(names) == 1):
        return  # the recipe has them trained whole
    if hasattr(config, "trainable_token_indices") and getattr(head, "bias", None) is None:
        config.trainable_token_indices = {name: list(ids) for name in (names[:1] if tied else names)}
    else:
        config.modules_to_save = [*whole, *names]


def complete_wrappers(model: Any) -> None:
    """Sets on peft's wrappers around embeddings what trainers ask of an embedding or an output layer besides its weight.

    The wrappers show nothing else (0.21). A bias they have none of: their forward leaves it out.
    """
    from peft.utils.other import TrainableTokensWrapper

    for module in model.modules():
        if isinstance(module, TrainableTokensWrapper):
            module.bias = None
            module.out_features, module.in_features = module.original_module.weight.shape
            module.num_embeddings = module.out_features


def settle_rows(model: Any) -> None:
    """Puts the rows that an adapter brings into its base, for a training that goes on from there.

    A second adapter, such as the frozen copy that TRL takes for its reference, begins with the rows of the base: TRL copies
    what is named `.default.` alone, and these are not (1.16).

    Args:
        model: As it was loaded; what it says stays the same.
    """
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    for layer in (module for module in model.modules() if isinstance(module, TrainableTokensLayer)):
        weight = layer.get_base_layer().weight
        for name, ids in layer.token_indices.items():
            rows = layer.trainable_tokens_delta[name].detach().to(weight)
            weight.data[list(ids)] = rows
            layer.trainable_tokens_original[name] = rows.clone()


def embedding_names(model: Any) -> list[str]:
    """Names of the modules that are a model's input embedding and, where it has one, its output layer."""
    wanted = [part for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part is not None]
    return [next(name for name, module in model.named_modules() if module is part) for part in wanted]


def needed_rows(folder: Path, model: PreTrainedModel) -> int:
    """Rows that the embeddings of an adapter's base must have: for the tokens that it trains, or the matrix that it brings.

    Args:
        folder: The adapter's.
        model: Its base, as published.
    """
    from safetensors import safe_open

    if not is_adapter(folder):
        return 0
    found = [token + 1 for token in trained_tokens(read_settings(folder / ADAPTER_CONFIG))]
    wholes = [f"{_PREFIX}{name}.weight" for name in embedding_names(model)]
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as tensors:
        saved = set(tensors.keys())
        found += [tensors.get_slice(name).get_shape()[0] for name in wholes if name in saved]
    return max(found, default=0)
