"""A forward pass of a model, of which the parts that heads need are caught."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from hfrecipes.models.mtp.heads import LayerCall


@dataclass
class Seen:
    """What a forward pass was caught doing.

    Args:
        call: Of the last layer.
        output: `(batch, tokens, width)`, what the output matrix would have read.
    """

    call: Any = None
    output: Any = None


@contextlib.contextmanager
def watched(model: Any, layer: nn.Module) -> Iterator[Seen]:
    """Catches the last layer's call; and the input of the output matrix, of which one position is left to multiply."""
    seen = Seen()

    def catch_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.call = LayerCall.of(args, kwargs)

    def catch_output(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.output = args[0]
        return (args[0][:, -1:], *args[1:])

    handles = [
        layer.register_forward_pre_hook(catch_call, with_kwargs=True),
        model.get_output_embeddings().register_forward_pre_hook(catch_output),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
