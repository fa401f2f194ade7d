"""Drafts: what the heads make of the last accepted token of each row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from hfrecipes.models.mtp.acceptance import DraftLength
from hfrecipes.models.mtp.heads import ChainedHeads, LayerCall
from hfrecipes.models.mtp.proposing import Proposer
from hfrecipes.models.mtp.unread import Unread, can_wait

# A GPU waits for weights, whatever the number of tokens; for a CPU each is work. Of one core of an AMD EPYC, float32, measured on
# Llamas of 0.8 to 111 million parameters: what it computes and reads in a second, and how long it takes to begin a layer.
_FLOPS, _BYTES, _LAYER = 1e11, 1.5e10, 1.5e-4
# To begin a head and to choose its token takes as long as to begin so many layers; measured likewise.
_HEAD_LAYERS = 2


@dataclass
class Pass:
    """What a forward pass through the trunk leaves to the heads.

    Args:
        call: The last layer's arguments.
        output: `(rows, width, hidden)`, what the output matrix reads.
    """

    call: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    output: Any = None


@contextlib.contextmanager
def watched(model: Any) -> Iterator[Pass]:
    """Keeps a `Pass` up to date with the model's last."""
    seen = Pass()
    anatomy = model.mtp_anatomy
    layer = anatomy.last_layer(model)
    end = model.get_submodule(anatomy.norms[-1]) if anatomy.norms else layer

    def catch_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.call = (args, kwargs)

    def catch_output(module: nn.Module, args: tuple[Any, ...], made: Any) -> None:
        seen.output = made if isinstance(made, Tensor) else made[0]

    handles = [
        layer.register_forward_pre_hook(catch_call, with_kwargs=True),
        end.register_forward_hook(catch_output),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@dataclass
class Asked:
    """A draft that is to be made.

    Args:
        proposer: Takes tokens from what the heads say.
        length: Says how long it pays to go on.
        room: The longest it may be, at most as many as there are heads that are run.
    """

    proposer: Proposer
    length: DraftLength
    room: int


class Drafter:
    """Heads with a cache each, that has the same places as the trunk's: what the trunk's last layer was told about masks and
    positions holds for them, and rejected drafts leave all caches at once.

    Attributes:
        caches: Of the heads that are run.

    Args:
        model: With heads.
        rows: Of the batch.
    """

    def __init__(self, model: Any, rows: int) -> None:
        self.model, self.rows = model, rows
        self.heads, self.anatomy = model.mtp_heads, model.mtp_anatomy
        config = model.config.get_text_config(decoder=True)
        self.caches = [DynamicCache(config=config) for _ in range(len(self.heads))]

    @property
    def cost(self) -> float:
        """What a head adds to a pass, as a share of the trunk's part: itself, the output matrix, and one more token."""
        head = sum(weight.numel() for weight in self.heads.parameters()) / len(self.heads)
        output = self.model.get_output_embeddings().weight
        trunk = sum(weight.numel() for weight in self.model.parameters()) - head * len(self.heads)
        share = (head + output.numel()) / trunk
        if output.device.type != "cpu":
            return share
        layers = self.model.config.get_text_config(decoder=True).num_hidden_layers
        token = 2 * trunk * self.rows / _FLOPS
        work = token + trunk * self.model.dtype.itemsize / _BYTES
        return (share * work + _HEAD_LAYERS * _LAYER + token) / (work + layers * _LAYER)

    def draft(self, seen: Pass, start: int, window: Tensor, ends: Tensor, following: Tensor, asked: Asked) -> None:
        """Has heads read a window, which fills their caches, and takes the drafts of the first of them.

        Args:
            seen: The trunk's pass over the window.
            start: Places in the caches before it.
            window: `(rows, width)`, its tokens.
            ends: `(rows,)`, the place in the window of each row's last accepted token.
            following: `(rows,)`, the token that was written behind it.
            asked: How many heads are to propose, and how.
        """
        raise NotImplementedError

    def read_all(self, length: int) -> None:
        """Fills the caches of all heads that are run up to so many places, where the trunk's ends."""

    def settle(self, length: int) -> None:
        """Goes on with so many places of the caches."""

    def select(self, rows: Tensor) -> None:
        """Goes on with some rows: those that stand at these places of the batch."""
        self.rows = len(rows)

    def _call(self, head: int, seen: Pass) -> LayerCall:
        return LayerCall.of(*seen.call, cache=self.caches[head])

    def _logits(self, hidden: Tensor) -> Tensor:
        # As generate does: processors get no half precision.
        return self.anatomy.finish(self.model.get_output_embeddings()(hidden)).float()


class ParallelDrafter(Drafter):
    """Heads that read the trunk alone: they know nothing of each other's drafts, and nothing of theirs has to be made again.

    A head that is not asked reads nothing; when it is asked again, it reads in one call what it has missed. Where the trunk's
    passes cannot be joined afterwards, all heads read each of them.
    """

    def __init__(self, model: Any, rows: int) -> None:
        super().__init__(model, rows)
        self._unread: Unread | None = None

    def draft(self, seen: Pass, start: int, window: Tensor, ends: Tensor, following: Tensor, asked: Asked) -> None:
        rows = torch.arange(len(window), device=window.device)
        behind = ends - window.shape[1]
        if start == 0 and self._can_wait(seen):
            self._unread = Unread(self.anatomy.last_layer(self.model))
        if self._unread is None:
            made = [self.heads(head, self._call(head, seen)) for head in range(len(self.caches))]
        else:
            self._unread.add(LayerCall.of(*seen.call), start)
            made = [self._read(head) for head in range(len(self.caches))] if self._unread.is_large() else []
        asked.length.begin()
        for head in range(asked.room):
            if not asked.length.goes_on():
                break
            hidden = made[head] if made else self._read(head)
            asked.proposer.propose(head, self._logits(self.anatomy.normalise(self.model, hidden[rows, behind])))
            asked.length.add(asked.proposer.sureness())

    def read_all(self, length: int) -> None:
        for head, cache in enumerate(self.caches):
            if _places(cache) < length:
                self._read(head)

    def settle(self, length: int) -> None:
        if self._unread is not None:
            self._unread.settle(length, min((_places(cache) for cache in self.caches), default=length))

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        if self._unread is not None:
            self._unread.select(rows)

    def _can_wait(self, seen: Pass) -> bool:
        attention = self.model.config.get_text_config(decoder=True)._attn_implementation
        return can_wait(self.anatomy.last_layer(self.model), LayerCall.of(*seen.call), attention)

    def _read(self, head: int) -> Tensor:
        assert self._unread is not None
        return self.heads(head, self._unread.since(_places(self.caches[head]), self.caches[head]))


class ChainedDrafter(Drafter):
    """Heads of which each reads the one before, and its draft.

    The deeper ones have read drafts at the last places, one more each. Where those were rejected, their states there are of
    tokens that were never written, and stay so. That makes no output wrong, since the trunk judges every draft, and hardly a
    draft: to run these places again gained 0.006 tokens a pass on a Llama of 1.1 million parameters over bytes with three
    heads, and cost a twelfth of the time.
    """

    def draft(self, seen: Pass, start: int, window: Tensor, ends: Tensor, following: Tensor, asked: Asked) -> None:
        rows, width = torch.arange(len(window), device=window.device), window.shape[1]
        tokens = torch.cat([window, window.new_zeros(len(window), len(self.heads) + 1)], dim=1)
        tokens[rows, ends + 1] = following
        number = min(asked.length(), asked.room)
        before, embed = seen.output, self.model.get_input_embeddings()
        for head in range(len(self.caches)):
            ahead = embed(tokens[:, head + 1 : head + 1 + width])
            before = self.heads(head, self._call(head, seen), before, ahead)
            if head < number:
                tokens[rows, ends + head + 2] = asked.proposer.propose(head, self._logits(before[rows, ends]))


def make_drafter(model: Any, rows: int) -> Drafter:
    kind = ChainedDrafter if isinstance(model.mtp_heads, ChainedHeads) else ParallelDrafter
    return kind(model, rows)


def _places(cache: DynamicCache) -> int:
    """How many are filled; a head's cache has but one of the model's layers."""
    return max((layer.get_seq_length() for layer in cache.layers if layer.is_initialized), default=0)
