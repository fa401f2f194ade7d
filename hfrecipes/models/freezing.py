"""Parts of a model that are not trained, by `model.freeze`. Imports no torch."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from hfrecipes.models.layers import decoder_layers


def freeze(model: Any, section: dict[str, Any]) -> None:
    """Takes parameters out of the training, in place.

    `all_but_last: k` leaves the last k decoder layers and what comes behind them: the last norm and the output matrix, which
    stays with the embedding where the two are one. `names` are patterns of whole names (`fnmatch`); a tied output matrix has
    two names, and either holds both.

    Args:
        model: A causal language model of transformers, also one without weights.
        section: The recipe's `model.freeze`.

    Raises:
        ValueError: a pattern fits no parameter, there are no more layers than are to be trained, or nothing is left.
    """
    if section.get("all_but_last") is not None:
        _freeze_beginning(model, section["all_but_last"])
    # Tied weights under each of their names.
    named = list(model.named_parameters(remove_duplicate=False))
    for pattern in section.get("names") or ():
        found = [parameter for name, parameter in named if fnmatchcase(name, pattern)]
        if not found:
            shown = ", ".join(name for name, _ in named[:3])
            raise ValueError(f"the pattern {pattern!r} fits no parameter; the names are like {shown}")
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("nothing is left that could be trained")


def _freeze_beginning(model: Any, kept: int) -> None:
    from torch import nn

    layers = model.get_submodule(decoder_layers(model))
    if kept >= len(layers):
        raise ValueError(f"all_but_last is {kept}, and {type(model).__name__} has {len(layers)} layers")
    # Tables of tokens and positions come before all layers.
    before = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    for module in (*before, *layers[: len(layers) - kept]):
        module.requires_grad_(False)
