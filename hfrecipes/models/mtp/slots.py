"""The places of key-value caches, of which not all hold text: each row of a batch accepts another number of drafts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Dead places cost attention; closing the gaps costs a copy of the cache. They are closed when they are an eighth, and not a few.
_DEAD_SHARE = 8
_FEW_DEAD = 16


def most_slots(tokens: int, width: int) -> int:
    """How many places a batch takes up at most, for rows of so many tokens and windows of such a width."""
    return tokens + max(tokens // _DEAD_SHARE, _FEW_DEAD) + 2 * width


class Slots:
    """Says what caches of equal length hold, row by row, and gives back the places of rejected drafts.

    Args:
        caches: Of the trunk and of the heads, empty.
        mask: `(rows, places)`, 1 where the prompt is text; None where it is no batch and has no padding. A row alone has no
            gaps: what it rejects stands at the end.
    """

    def __init__(self, caches: list[Any], mask: Tensor | None) -> None:
        self.caches = caches
        self.mask = mask[:, :0] if mask is not None else None
        self.length = 0
        self._gaps = False

    def with_window(self, window: Tensor) -> Tensor | None:
        """The mask for the next forward pass, in which a window is new: `(rows, places + width)`."""
        return None if self.mask is None else torch.cat([self.mask, window], dim=1)

    def settle(self, window: Tensor, kept: list[int]) -> None:
        """Keeps the first places of a window that was run, in each row as many as it accepts.

        Args:
            window: `(rows, width)`, 1 where the window was text.
            kept: By row.
        """
        longest = max(kept)
        self.length += longest
        for layer in self._layers():
            # A head that was not asked has not read the window.
            if (rejected := layer.get_seq_length() - self.length) > 0:
                layer.crop(-rejected)
        if self.mask is None:
            return
        places = torch.arange(longest, device=window.device)
        alive = places[None] < torch.tensor(kept, device=window.device)[:, None]
        self.mask = torch.cat([self.mask, window[:, :longest] * alive], dim=1)
        self._gaps = self._gaps or min(kept) < longest

    def select(self, rows: Tensor) -> None:
        """Goes on with some of the rows."""
        if self.mask is not None:
            self.mask = self.mask[rows]
        for layer in self._layers():
            layer.batch_select_indices(rows)

    def own(self) -> None:
        """Makes states that were computed in inference mode fit for autograd; to be called outside of it."""
        for layer in self._layers():
            layer.keys, layer.values = layer.keys.clone(), layer.values.clone()

    def has_many_gaps(self) -> bool:
        """Whether it is time to close them."""
        if self.mask is None or not self._gaps:
            return False
        needed = self._needed()
        return self.length - needed > max(needed // _DEAD_SHARE, _FEW_DEAD)

    def close_gaps(self) -> None:
        """Moves what is alive to the end, in its order; all caches must be filled equally far."""
        assert self.mask is not None
        needed = self._needed()
        order = self.mask.argsort(dim=1, stable=True)[:, self.length - needed :]
        self.mask = self.mask.gather(1, order)
        self.length, self._gaps = needed, False
        for layer in self._layers():
            layer.keys, layer.values = _take(layer.keys, order), _take(layer.values, order)
            if hasattr(layer, "cumulative_length"):
                layer.cumulative_length = needed

    def _needed(self) -> int:
        assert self.mask is not None
        return int(self.mask.sum(1).max())

    def _layers(self) -> Iterator[Any]:
        """Those in use: a head's cache has but one of the model's layers."""
        return (layer for cache in self.caches for layer in cache.layers if layer.is_initialized)


def _take(states: Tensor, order: Tensor) -> Tensor:
    """Places of `(rows, heads, places, width)` states, in another order for each row."""
    return states.gather(2, order[:, None, :, None].expand(-1, states.shape[1], -1, states.shape[3]))
