"""What the trunk gave to its last layer, kept until the parallel heads that were not asked since have read it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hfrecipes.models.mtp.heads import LayerCall

# Arguments with an entry for each token, `(rows, tokens, ...)`.
_BY_TOKEN = ("position_embeddings", "position_ids")
_MASK = "attention_mask"
# Ways of attention that take a mask for queries at any places; of others we have not tried what they do.
_MASKED = ("sdpa", "eager")
# Tokens from which on a pass is not kept: the mask of a prompt has an entry for each pair of them.
_LONG = 1024


@dataclass
class _Window:
    """A pass of the trunk.

    Args:
        start: Places in the caches before it.
        hidden: `(rows, width, hidden)`.
        by_token: `(rows, width, ...)` each.
        mask: `(rows, 1, width, start + width)`, bool or what is added to scores; None where nothing before a token is hidden.
    """

    start: int
    hidden: Tensor
    by_token: dict[str, tuple[Tensor, ...]]
    mask: Tensor | None

    @property
    def end(self) -> int:
        return self.start + self.hidden.shape[1]

    def shorten(self, end: int) -> None:
        width = end - self.start
        self.hidden = self.hidden[:, :width]
        self.by_token = {name: tuple(each[:, :width] for each in value) for name, value in self.by_token.items()}
        self.mask = None if self.mask is None else self.mask[:, :, :width, :end]

    def select(self, rows: Tensor) -> None:
        self.hidden = self.hidden[rows]
        self.by_token = {name: tuple(each[rows] for each in value) for name, value in self.by_token.items()}
        self.mask = None if self.mask is None else self.mask[rows]


class Unread:
    """The trunk's passes in their order, as far as they were accepted.

    Args:
        layer: The model's last.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._names = list(inspect.signature(layer.forward).parameters)
        self._windows: list[_Window] = []
        self._last: LayerCall | None = None

    def add(self, call: LayerCall, start: int) -> None:
        """A pass over what stands behind so many places of the caches."""
        self._last = call = LayerCall(call.hidden, (), _named(self._names, call))
        rows = len(call.hidden)
        by_token = {name: _of_rows(call.kwargs[name], rows) for name in _BY_TOKEN if call.kwargs.get(name) is not None}
        mask = call.kwargs.get(_MASK)
        self._windows.append(
            _Window(start, call.hidden, by_token, mask if mask is None else mask.expand(rows, -1, -1, -1))
        )

    def is_large(self) -> bool:
        """Whether the last pass is to be read at once: its mask, or the one that would be made for it, is not to be kept."""
        last = self._windows[-1]
        return (last.start == 0 and last.mask is not None) or last.end - last.start > _LONG

    def since(self, place: int, cache: Any) -> LayerCall:
        """One call over everything from a place on, with a head's cache."""
        assert self._last is not None, "nothing was added"
        windows = [window for window in self._windows if window.start >= place]
        call = LayerCall.of((self._last.hidden,), self._last.kwargs, cache)
        if len(windows) == 1 and windows[0].end == windows[0].start + self._last.hidden.shape[1]:
            return call
        by_token = {
            name: tuple(
                torch.cat(parts, dim=1) for parts in zip(*(each.by_token[name] for each in windows), strict=True)
            )
            for name in windows[-1].by_token
        }
        call.hidden = torch.cat([window.hidden for window in windows], dim=1)
        for name, parts in by_token.items():
            call.kwargs[name] = parts if isinstance(call.kwargs[name], tuple) else parts[0]
        call.kwargs[_MASK] = _join_masks(windows)
        return call

    def settle(self, length: int, read: int) -> None:
        """Forgets what stands behind a length of the caches, and what all heads have read: so many places."""
        if self._windows and self._windows[-1].end > length:
            self._windows[-1].shorten(length)
        self._windows = [window for window in self._windows if max(window.start, read) < window.end]

    def select(self, rows: Tensor) -> None:
        """Goes on with some rows."""
        for window in self._windows:
            window.select(rows)


def can_wait(layer: nn.Module, call: LayerCall, attention: str) -> bool:
    """Whether passes of a model can be joined afterwards: all tensors that its last layer gets are known ones.

    Args:
        layer: The model's last.
        call: Of it, by the trunk.
        attention: The model's way of computing it.
    """
    names = list(inspect.signature(layer.forward).parameters)
    words = _named(names, call)
    unknown = [value for name, value in words.items() if name not in (*_BY_TOKEN, _MASK) and _holds_tensor(value)]
    width = call.hidden.shape[1]
    by_token = [each for name in _BY_TOKEN if words.get(name) is not None for each in _tensors(words[name])]
    mask = words.get(_MASK)
    return (
        attention in _MASKED
        and _MASK in names
        and not unknown
        and all(each.dim() >= 2 and each.shape[1] == width for each in by_token)
        and (mask is None or (isinstance(mask, Tensor) and mask.dim() == 4))
    )


def _named(names: list[str], call: LayerCall) -> dict[str, Any]:
    """All arguments of a layer behind its input, by their names."""
    return {**dict(zip(names[1:], call.args, strict=False)), **call.kwargs}


def _tensors(value: Any) -> tuple[Tensor, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _holds_tensor(value: Any) -> bool:
    return any(isinstance(each, Tensor) for each in _tensors(value))


def _of_rows(value: Any, rows: int) -> tuple[Tensor, ...]:
    """With an entry for each row, where one stood for all."""
    return tuple(each.expand(rows, *each.shape[1:]) for each in _tensors(value))


def _join_masks(windows: list[_Window]) -> Tensor:
    """What each token sees of the places up to the last."""
    given = next((window.mask for window in windows if window.mask is not None), None)
    joined = [_full_mask(window, windows[-1].end, given) for window in windows]
    rows = max(len(mask) for mask in joined)
    return torch.cat([mask.expand(rows, -1, -1, -1) for mask in joined], dim=2)


def _full_mask(window: _Window, places: int, given: Tensor | None) -> Tensor:
    """One window's mask, with the places hidden that came later."""
    kind = torch.bool if given is None else given.dtype
    seen, hidden = (True, False) if kind == torch.bool else (0.0, torch.finfo(kind).min)
    mask = window.mask
    if mask is None:
        width = window.hidden.shape[1]
        causal = torch.ones(width, window.end, dtype=torch.bool, device=window.hidden.device).tril(window.start)
        mask = torch.full(causal.shape, hidden, dtype=kind, device=causal.device).masked_fill_(causal, seen)[None, None]
    return nn.functional.pad(mask, (0, places - window.end), value=hidden)
