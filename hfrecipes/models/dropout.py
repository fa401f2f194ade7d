"""Dropout by part of a model, by `model.dropout`: put where the architecture has it, and refused where it has none.

A config's field says nothing of whether the model reads it (Phi-3 has `embd_pdrop` and no such dropout), and a model that is
loaded does not look at its config again. So the places are found by building the model once more, without weights, from a
config in which the field has a number of its own, and looking for that number.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hfrecipes.recipe.regularization_words import dropout_fields, dropout_parts

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

# No config has this number by itself, and it is one that configs of every type take.
_MARK = 0.0371


def set_dropout(model: PreTrainedModel, section: dict[str, float | None]) -> None:
    """Changes what a model drops out in training, in place, and its config with it.

    Args:
        model: Of transformers, also one without weights; not yet under peft.
        section: The recipe's `model.dropout`: part -> share. Parts that it leaves out stay as they are.

    Raises:
        ValueError: the architecture has no such part, or a word for it that its model does not read or its config refuses.
    """
    for part, share in section.items():
        if share is None:
            continue
        fields = _fields_of(model.config, part)
        places = {field: _places(model, field) for field in fields}
        if not any(places.values()) or _passes_over(model.config.get_text_config(), part):
            raise ValueError(_no_place(model, part, fields))
        for field in fields:
            _write(model.config, field, share)
            for module, attribute in places[field]:
                setattr(model.get_submodule(module), attribute, share)


def _fields_of(config: PreTrainedConfig, part: str) -> tuple[str, ...]:
    return dropout_fields(part, config.get_text_config().to_dict())


def _no_place(model: PreTrainedModel, part: str, fields: tuple[str, ...]) -> str:
    config, kind = model.config.get_text_config(), type(model).__name__
    if fields:
        return f"{kind} reads {' and '.join(fields)} nowhere: it has no dropout of its {part}"
    known = dropout_parts(config.to_dict())
    return f"{config.model_type} has no word for dropout of its {part}; it has {known or 'none at all'}"


def _passes_over(config: PreTrainedConfig, part: str) -> bool:
    """Falcon holds the share of its attention, and uses it under ALiBi alone (transformers 5.23)."""
    return config.model_type == "falcon" and part == "attention" and not config.alibi


def _places(model: PreTrainedModel, field: str) -> list[tuple[str, str]]:
    """Modules, and their attributes, that hold what a field of the config says."""
    import torch

    config = copy.deepcopy(model.config)
    _write(config, field, _MARK)
    with torch.device("meta"):
        marked = type(model)(config)
    found = [(name, each) for name, module in marked.named_modules() for each in _marked_attributes(module)]
    here = dict(model.named_modules())
    return [(name, attribute) for name, attribute in found if name in here]


def _marked_attributes(module: nn.Module) -> Iterator[str]:
    for name, value in vars(module).items():
        if isinstance(value, float) and value == _MARK:
            yield name


def _write(config: PreTrainedConfig, field: str, share: float) -> None:
    holder: Any = config.get_text_config()
    *inside, name = field.split(".")
    for step in inside:
        holder = getattr(holder, step)
    try:
        setattr(holder, name, share)
    except Exception as error:  # strict config classes raise types of their own
        reason = " ".join(str(error).split())
        raise ValueError(f"the config of {config.model_type} refuses {field}: {reason}") from error
