"""Weights stay what the optimizer knows while a checkpoint is loaded into them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def same_weights(model: Any) -> Iterator[None]:
    """Afterwards each trained weight is the parameter that it was, of its type, with the values that were loaded.

    On a quantised base peft puts new parameters, in float32, in the place of an adapter's as it loads it: an optimizer that
    exists already would go on moving the old ones, and the adapter would learn no more.
    """
    places = [
        (module, name, weight, weight.dtype)
        for module in model.modules()
        for name, weight in module.named_parameters(recurse=False)
        if weight.requires_grad
    ]
    yield
    for module, name, weight, dtype in places:
        loaded = getattr(module, name)
        if loaded is not weight or loaded.dtype != dtype:
            weight.data = loaded.data.to(dtype)
            setattr(module, name, weight)
