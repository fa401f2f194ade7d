"""Names of modules and layers in a recipe's `adapter:` section that the model does not have: peft passes over them in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hfrecipes.recipe.validate import nearest

if TYPE_CHECKING:
    from torch import nn

# Words whose lists name modules by how these end, and dicts that name them by a regular expression for that.
_LISTS = ("target_modules", "exclude_modules", "feedforward_modules", "modules_to_save")
_PATTERNS = ("rank_pattern", "alpha_pattern")
_LAYER = re.compile(r".*?\.[^.]*\.(\d+)(?:\.|$)")


def refuse_idle_names(section: dict[str, Any], model: nn.Module) -> None:
    """Looks whether all that an adapter is to change is there.

    Args:
        section: The recipe's `adapter`.
        model: What the adapter is put on.

    Raises:
        ValueError: naming the words that match nothing.
    """
    names = [name for name, _ in model.named_modules() if name]
    if faults := [*_idle_lists(section, names), *_idle_patterns(section, names), *_missing_layers(section, names)]:
        raise ValueError("; ".join(faults))


def _idle_lists(section: dict[str, Any], names: list[str]) -> Iterator[str]:
    for word in _LISTS:
        said = section.get(word)
        for wanted in said if isinstance(said, list) else ():
            if not any(f".{name}".endswith(f".{wanted}") for name in names):
                yield _no_module(word, wanted, names)


def _idle_patterns(section: dict[str, Any], names: list[str]) -> Iterator[str]:
    for word in _PATTERNS:
        for pattern in section.get(word) or {}:
            try:
                matches = re.compile(rf"(.*\.)?({pattern})$").match
            except re.error as error:
                yield f"adapter.{word} has {pattern!r}, which is no regular expression: {error}"
                continue
            if not any(map(matches, names)):
                yield _no_module(word, pattern, names)


def _missing_layers(section: dict[str, Any], names: list[str]) -> Iterator[str]:
    said = section.get("layers_to_transform")
    wanted = [] if said is None else said if isinstance(said, list) else [said]
    layers = {int(match[1]) for match in map(_LAYER.match, names) if match}
    if missing := [layer for layer in wanted if layer not in layers]:
        has = f"those from 0 to {max(layers)}" if layers else "none"
        yield f"adapter.layers_to_transform names {', '.join(map(str, missing))}, and of layers the model has {has}"


def _no_module(word: str, wanted: str, names: list[str]) -> str:
    guess = nearest(wanted, dict.fromkeys(name.rpartition(".")[2] for name in names))
    return f"adapter.{word} names {wanted}, and the model has no such module" + (
        f" (did you mean {guess}?)" if guess else ""
    )
