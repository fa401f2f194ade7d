"""The config of a model with random weights. Imports transformers when called, torch never."""

from __future__ import annotations

from typing import Any

from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.recipe.loader import Recipe

# The deepest transformer that was published has 1,000 (Wang et al. 2022, arXiv:2203.00555). Each layer takes time to set up,
# also where no weight is made, and a library that has begun on ten million of them cannot be told to stop.
MOST_LAYERS = 10_000
DEPTHS = ("num_hidden_layers", "n_layer", "num_layers")

# Rows of an embedding that GPUs multiply at full speed come in such multiples (NVIDIA's guide to matrix products).
_ROWS = 64


def embedding_rows(entries: int, rows: int) -> int:
    """Rows of an embedding that is to hold `entries` ids and has `rows`: no fewer than it has, and filled up."""
    return max(rows, -(-entries // _ROWS) * _ROWS)


def config_fields(recipe: Recipe) -> dict[str, Any]:
    """The fields of `model.config`, with the positions that the context needs where they are left open.

    Where heads for further tokens take their layers out of the trunk, that is so many layers shorter.
    """
    fields: dict[str, Any] = dict(recipe.get("model.config"))
    heads = mtp_settings(recipe)
    if heads is not None and heads.equal_parameters:
        depth = next(name for name in DEPTHS if name in fields)
        fields[depth] -= heads.num_future_tokens - 1
    context = recipe.get("data.context_length") or recipe.get("training.max_length")
    if context:
        fields.setdefault("n_positions" if fields["model_type"] == "gpt2" else "max_position_embeddings", context)
    return fields


def build_config(fields: dict[str, Any]) -> Any:
    """A transformers config from `model_type` and its fields.

    Key-value heads that are left open are those of the architecture where they divide the heads, else as many as heads: a
    Qwen2 of four heads would otherwise have its default of 32 and fail in its first attention.

    Raises:
        ValueError: where the model type is unknown or its class refuses the fields.
    """
    from transformers import AutoConfig

    fields = dict(fields)
    model_type = fields.pop("model_type", None)
    for name in DEPTHS:
        if isinstance(depth := fields.get(name), int) and depth > MOST_LAYERS:
            raise ValueError(f"{name} is {depth}; it is at most {MOST_LAYERS:,}")
    try:
        config = AutoConfig.for_model(model_type, **fields)
    except ValueError:
        raise
    except Exception as error:  # strict config classes raise types of their own
        raise ValueError(f"transformers refuses this config of model type {model_type!r}: {error}") from error
    if "is_decoder" not in fields and getattr(config, "is_decoder", None) is False and not config.is_encoder_decoder:
        # A BERT reads both ways unless it is told otherwise; trained on the next token it would see what it predicts.
        config.is_decoder = True
    heads, key_value_heads = getattr(config, "num_attention_heads", None), getattr(config, "num_key_value_heads", None)
    if key_value_heads and heads % key_value_heads and "num_key_value_heads" not in fields:
        config.num_key_value_heads = heads
    return config
