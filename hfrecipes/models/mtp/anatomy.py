"""Where a causal language model has what multi-token prediction needs, found by watching it run instead of by names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from hfrecipes.models.mode import eval_mode

_TOKENS = 5
# Logits that are computed from the parts agree with the model's own to rounding.
_TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}
_COARSE = 3e-2
# Logits by which scale and softcap are told.
_RAMP = 60.0
_ALMOST_ONE = 1 - 1e-9


class AnatomyError(ValueError):
    """A model in which a part is not found, or that puts its parts together in a way of its own."""


@dataclass(frozen=True)
class Anatomy:
    """The parts, by their places in the model.

    Args:
        layers: Name of the list of decoder layers.
        norms: Names of the modules between the last layer and the output matrix, in their order; mostly one norm.
        softcap: Logits are `softcap * tanh(logits / softcap)`; None where they are not.
        scale: Logits are multiplied by it, before the softcap.
    """

    layers: str
    norms: tuple[str, ...]
    softcap: float | None
    scale: float

    def last_layer(self, model: nn.Module) -> nn.Module:
        return model.get_submodule(self.layers)[-1]

    def normalise(self, model: nn.Module, hidden: Tensor) -> Tensor:
        """From the output of a layer to the input of the output matrix."""
        for name in self.norms:
            hidden = model.get_submodule(name)(hidden)
        return hidden

    def finish(self, logits: Tensor) -> Tensor:
        """What the model does to the product with the output matrix."""
        logits = logits * self.scale if self.scale != 1 else logits
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


@dataclass
class _Call:
    """One call of a module, with its tensors kept so that no other takes their place in memory."""

    name: str
    module: nn.Module
    given: Tensor
    made: Tensor


def find_anatomy(model: nn.Module) -> Anatomy:
    """Runs a few tokens through a model and follows them from the last decoder layer to the logits.

    Args:
        model: A causal language model of transformers, with weights, on any device.

    Raises:
        AnatomyError: naming the part that was not found.
    """
    output = model.get_output_embeddings()
    if output is None:
        raise AnatomyError(f"{type(model).__name__} has no output embeddings (get_output_embeddings gives None)")
    calls = _watch(model)
    heads = [call for call in calls if call.module is output]
    if len(heads) != 1:
        raise AnatomyError(f"{type(model).__name__} calls its output embeddings {len(heads)} times in a forward pass")
    layers, last = _find_layers(model, calls)
    path = _path(calls, last.made, heads[0].given)
    if path is None:
        fault = (
            f"what {type(model).__name__} does between its last layer and its output embeddings is no chain of modules"
        )
        raise AnatomyError(f"{fault}, so heads could not be given the same")
    scale, softcap = _find_finish(model, heads[0].made.shape)
    return Anatomy(layers, path, softcap, scale)


def _watch(model: nn.Module) -> list[_Call]:
    calls: list[_Call] = []
    with _hooks(model, calls):
        _run(model)
    return calls


def _run(model: nn.Module) -> Tensor:
    embedding = model.get_input_embeddings()
    ids = torch.arange(_TOKENS, device=embedding.weight.device)[None] % embedding.num_embeddings
    with eval_mode(model):
        return model(input_ids=ids, use_cache=False).logits


@contextlib.contextmanager
def _hooks(model: nn.Module, calls: list[_Call]) -> Iterator[None]:
    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
            given = next((value for value in (*args, *kwargs.values()) if _is_hidden(value)), None)
            first = first_tensor(made)
            if given is not None and first is not None:
                calls.append(_Call(name, module, given, first))

        return hook

    handles = [
        module.register_forward_hook(hook_of(name), with_kwargs=True)
        for name, module in model.named_modules()
        if name and not isinstance(module, nn.ModuleList)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(value: Any) -> Tensor | None:
    """A layer's hidden states: what it returns, or the first of it."""
    if isinstance(value, Tensor):
        return value
    return value[0] if isinstance(value, tuple | list) and value and isinstance(value[0], Tensor) else None


def _is_hidden(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() >= 2


def _find_layers(model: nn.Module, calls: list[_Call]) -> tuple[str, _Call]:
    """The longest list of modules of one class that pass hidden states on, one after the other; and its last call."""
    by_module = {}
    for call in calls:
        by_module.setdefault(id(call.module), []).append(call)
    found: list[tuple[int, str, _Call]] = []
    for name, modules in model.named_modules():
        if not isinstance(modules, nn.ModuleList) or not len(modules):
            continue
        chain = [by_module.get(id(module), []) for module in modules]
        if all(len(each) == 1 for each in chain) and _passes_on([each[0] for each in chain]):
            found.append((len(modules), name, chain[-1][0]))
    if not found:
        raise AnatomyError(f"no list of decoder layers was found in {type(model).__name__}")
    _, name, last = max(found, key=lambda each: each[0])
    return name, last


def _passes_on(chain: list[_Call]) -> bool:
    shapes = {call.made.shape for call in chain} | {call.given.shape for call in chain}
    return len(shapes) == 1 and all(_same(one.made, other.given) for one, other in pairwise(chain))


def _path(calls: list[_Call], start: Tensor, end: Tensor) -> tuple[str, ...] | None:
    """Names of the modules that lead from one tensor to another."""
    names: list[str] = []
    now = start
    while not _same(now, end):
        step = next((call for call in calls if _same(call.given, now) and not _same(call.made, now)), None)
        if step is None or step.name in names:
            return None
        names.append(step.name)
        now = step.made
    return tuple(names)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same numbers in the same place; slices that leave nothing out are."""
    return one.data_ptr() == other.data_ptr() and one.numel() == other.numel()


def _find_finish(model: nn.Module, shape: torch.Size) -> tuple[float, float | None]:
    """Scale and softcap by which the model turns the product with its output matrix into logits.

    A ramp is put in the place of the product: logits of weights that are not trained yet are too small to show a softcap.
    """
    steps = torch.linspace(-_RAMP, _RAMP, shape.numel(), dtype=torch.float64).reshape(shape)
    output = model.get_output_embeddings()
    handle = output.register_forward_hook(lambda *call: steps.to(call[2]))
    try:
        logits = _run(model)
    finally:
        handle.remove()
    if logits.shape != shape:
        raise AnatomyError(f"{type(model).__name__} cuts or joins what its output embeddings give")
    # The numbers that the model was given, rounded to its own type.
    ramp, logits = steps.to(logits.dtype).double().to(logits.device), logits.double()
    tolerance = _TOLERANCES.get(next(model.parameters()).dtype, _COARSE)
    for cap in (None, *_stated_caps(model)):
        linear = logits if cap is None else cap * torch.atanh((logits / cap).clamp(-_ALMOST_ONE, _ALMOST_ONE))
        # Near the ends of a softcap nothing of the ramp is left.
        seen = torch.ones_like(ramp, dtype=torch.bool) if cap is None else logits.abs() < cap / 2
        scale = float((ramp * linear)[seen].sum() / ramp[seen].square().sum())
        given = ramp * scale
        made = given if cap is None else cap * torch.tanh(given / cap)
        if (made - logits).norm() <= tolerance * logits.norm():
            return (1.0 if abs(scale - 1) <= tolerance else scale), cap
    raise AnatomyError(
        f"{type(model).__name__} makes its logits in a way of its own (no scale and no softcap explain it)"
    )


def _stated_caps(model: nn.Module) -> list[float]:
    words = model.config.get_text_config().to_dict()
    return [float(value) for name, value in words.items() if "cap" in name and isinstance(value, int | float) and value]
