"""Drafts: what the heads make of the last accepted token of each row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from hfrecipes.models.mtp.heads import ChainedHeads, LayerCall
from hfrecipes.models.mtp.proposing import Proposer

# A GPU waits for weights, whatever the number of tokens; for a CPU each is work. Of one core of an AMD EPYC, float32, measured on
# Llamas of 0.8 to 111 million parameters: what it computes and reads in a second, and how long it takes to begin a layer.
_FLOPS, _BYTES, _LAYER = 1e11, 1.5e10, 1.5e-4


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
        rows: Of the batch.
    """

    def __init__(self, model: Any, rows: int) -> None:
        self.model, self.rows = model, rows
        self.heads, self.anatomy = model.mtp_heads, model.mtp_anatomy
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
        return (head + output.numel()) / trunk + (self._token(trunk) if output.device.type == "cpu" else 0.0)

    def _token(self, parameters: float) -> float:
        """What one more token of each row adds to a pass over one, on a CPU."""
        layers = self.model.config.get_text_config(decoder=True).num_hidden_layers
        work = 2 * parameters * self.rows / _FLOPS
        return work / (work + parameters * self.model.dtype.itemsize / _BYTES + layers * _LAYER)

    def draft(
        self, seen: Pass, window: Tensor, ends: Tensor, following: Tensor, number: int, proposer: Proposer
    ) -> None:
        """Runs the heads over a window, which fills their caches, and takes the drafts of the first of them.

        Args:
            seen: The trunk's pass over the window.
            window: `(rows, width)`, its tokens.
            ends: `(rows,)`, the place in the window of each row's last accepted token.
            following: `(rows,)`, the token that was written behind it.
            number: How many heads are to propose, at most as many as are run.
            proposer: Of their drafts.
        """
        raise NotImplementedError

    def _call(self, head: int, seen: Pass) -> LayerCall:
        return LayerCall.of(*seen.call, cache=self.caches[head])

    def _logits(self, hidden: Tensor) -> Tensor:
        # As generate does: processors get no half precision.
        return self.anatomy.finish(self.model.get_output_embeddings()(hidden)).float()


class ParallelDrafter(Drafter):
    """Heads that read the trunk alone: they know nothing of each other's drafts, and nothing of theirs has to be made again."""

    def draft(
        self, seen: Pass, window: Tensor, ends: Tensor, following: Tensor, number: int, proposer: Proposer
    ) -> None:
        rows = torch.arange(len(window), device=window.device)
        made = [self.heads(head, self._call(head, seen)) for head in range(len(self.caches))]
        if not number:
            return
        lasts = torch.stack(made[:number], dim=1)[rows, :, ends]
        proposer.propose_all(self._logits(self.anatomy.normalise(self.model, lasts)))


class ChainedDrafter(Drafter):
    """Heads of which each reads the one before, and its draft.

    The deepest reads drafts at as many of the last places as there are heads before it. When those are rejected, its states
    there are of tokens that were never written; so these places are run again in the next window.
    """

    @property
    def again(self) -> int:
        return max(len(self.caches) - 1, 0)

    def draft(
        self, seen: Pass, window: Tensor, ends: Tensor, following: Tensor, number: int, proposer: Proposer
    ) -> None:
        rows, width = torch.arange(len(window), device=window.device), window.shape[1]
        tokens = torch.cat([window, window.new_zeros(len(window), len(self.heads) + 1)], dim=1)
        tokens[rows, ends + 1] = following
        before, embed = seen.output, self.model.get_input_embeddings()
        for head in range(len(self.caches)):
            ahead = embed(tokens[:, head + 1 : head + 1 + width])
            before = self.heads(head, self._call(head, seen), before, ahead)
            if head < number:
                tokens[rows, ends + head + 2] = proposer.propose(head, self._logits(before[rows, ends]))


def make_drafter(model: Any, rows: int) -> Drafter:
    kind = ChainedDrafter if isinstance(model.mtp_heads, ChainedHeads) else ParallelDrafter
    return kind(model, rows)
