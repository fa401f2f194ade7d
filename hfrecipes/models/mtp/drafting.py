"""Drafts: what the heads make of the last accepted token of each row."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from hfrecipes.models.mtp.heads import ChainedHeads, LayerCall

# From a head's number and its logits, `(rows, vocabulary)`, to the tokens it drafts, `(rows,)`.
Propose = Callable[[int, Tensor], Tensor]
# A GPU waits for weights, whatever the number of tokens; for a CPU each is work. In passes over one token, by measurement
# (benchmarks/mtp_decode.py).
_TOKEN_ON_CPU = 0.15


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


class Drafter:
    """Heads with a cache each, that has the same places as the trunk's: what the trunk's last layer was told about masks and
    positions holds for them, and rejected drafts leave all caches at once.

    Attributes:
        caches: Of the heads that are run.

    Args:
        model: With heads.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.heads, self.anatomy = model, model.mtp_heads, model.mtp_anatomy
        config = model.config.get_text_config(decoder=True)
        self.caches = [DynamicCache(config=config) for _ in range(len(self.heads))]

    @property
    def again(self) -> int:
        """How many accepted tokens are run again in the next window."""
        return 0

    @property
    def cost(self) -> float:
        """What a head adds to a pass, as a share of the trunk's part: its weights, the output matrix's, and one more token."""
        head = sum(weight.numel() for weight in self.heads.parameters()) / len(self.heads)
        output = self.model.get_output_embeddings().weight
        trunk = sum(weight.numel() for weight in self.model.parameters()) - head * len(self.heads)
        return (head + output.numel()) / trunk + (_TOKEN_ON_CPU if output.device.type == "cpu" else 0.0)

    def draft(self, seen: Pass, window: Tensor, ends: Tensor, following: Tensor, number: int, propose: Propose) -> None:
        """Runs the heads over a window, which fills their caches, and has the first of them propose.

        Args:
            seen: The trunk's pass over the window.
            window: `(rows, width)`, its tokens.
            ends: `(rows,)`, the place in the window of each row's last accepted token.
            following: `(rows,)`, the token that was written behind it.
            number: How many heads are to propose, at most as many as are run.
            propose: Called for them in their order.
        """
        raise NotImplementedError

    def _call(self, head: int, seen: Pass) -> LayerCall:
        return LayerCall.of(*seen.call, cache=self.caches[head])

    def _logits(self, hidden: Tensor) -> Tensor:
        # As generate does: processors get no half precision.
        return self.anatomy.finish(self.model.get_output_embeddings()(hidden)).float()


class ParallelDrafter(Drafter):
    """Heads that read the trunk alone: they know nothing of each other's drafts, and nothing of theirs has to be made again."""

    def draft(self, seen: Pass, window: Tensor, ends: Tensor, following: Tensor, number: int, propose: Propose) -> None:
        rows = torch.arange(len(window), device=window.device)
        made = [self.heads(head, self._call(head, seen))[rows, ends] for head in range(len(self.caches))]
        if not number:
            return
        logits = self._logits(self.anatomy.normalise(self.model, torch.stack(made[:number], dim=1)))
        for head in range(number):
            propose(head, logits[:, head])


class ChainedDrafter(Drafter):
    """Heads of which each reads the one before, and its draft.

    The deepest reads drafts at as many of the last places as there are heads before it. When those are rejected, its states
    there are of tokens that were never written; so these places are run again in the next window.
    """

    @property
    def again(self) -> int:
        return max(len(self.caches) - 1, 0)

    def draft(self, seen: Pass, window: Tensor, ends: Tensor, following: Tensor, number: int, propose: Propose) -> None:
        rows, width = torch.arange(len(window), device=window.device), window.shape[1]
        tokens = torch.cat([window, window.new_zeros(len(window), len(self.heads) + 1)], dim=1)
        tokens[rows, ends + 1] = following
        before, embed = seen.output, self.model.get_input_embeddings()
        for head in range(len(self.caches)):
            ahead = embed(tokens[:, head + 1 : head + 1 + width])
            before = self.heads(head, self._call(head, seen), before, ahead)
            if head < number:
                tokens[rows, ends + head + 2] = propose(head, self._logits(before[rows, ends]))


def make_drafter(model: Any) -> Drafter:
    return ChainedDrafter(model) if isinstance(model.mtp_heads, ChainedHeads) else ParallelDrafter(model)
