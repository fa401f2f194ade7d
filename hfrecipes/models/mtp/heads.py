"""The heads beside a model's own: in parallel over one trunk, or one behind the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache

from hfrecipes.models.mtp.anatomy import first_tensor
from hfrecipes.models.mtp.copying import trainable_copy


@dataclass
class LayerCall:
    """What the last decoder layer was called with.

    Args:
        hidden: `(batch, tokens, width)`, its input: what the trunk gives.
        args: Its other positional arguments.
        kwargs: Its keyword arguments: mask, positions, rotary tables.
        key: The keyword of its input; None where that comes first.
    """

    hidden: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    key: str | None = None

    @classmethod
    def of(cls, args: tuple[Any, ...], kwargs: dict[str, Any], cache: Cache | None = None) -> LayerCall:
        """As a layer was called, with another cache, or none, in the place of the one it was given."""
        args = tuple(cache if isinstance(value, Cache) else value for value in args)
        kwargs = {name: cache if name in _CACHES else value for name, value in kwargs.items()}
        if args:
            return cls(args[0], args[1:], kwargs)
        key = "hidden_states"
        return cls(kwargs.pop(key), (), kwargs, key)

    def run(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """What a layer makes of other hidden states in the same places."""
        if self.key is None:
            made = first_tensor(layer(hidden, *self.args, **self.kwargs))
        else:
            made = first_tensor(layer(**{self.key: hidden}, **self.kwargs))
        assert made is not None, f"{type(layer).__name__} gives no hidden states"
        return made


_CACHES = {"past_key_values", "past_key_value", "layer_past", "cache_params"}


class ParallelHeads(nn.Module):
    """Copies of the model's last layer that read what it reads (Gloeckle et al. 2024, arXiv:2404.19737, section 2).

    The model's own last layer is the first head; final norm and output matrix serve all.

    Args:
        layer: The model's last layer.
        number: Heads beside the model's own.
    """

    def __init__(self, layer: nn.Module, number: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(trainable_copy(layer) for _ in range(number))

    def __len__(self) -> int:
        return len(self.layers)

    def forward(self, head: int, call: LayerCall) -> Tensor:
        """Hidden states of one head (from 0) before the final norm, `(batch, tokens, width)`."""
        return call.run(self.layers[head], call.hidden)


class ChainedHeads(nn.Module):
    """Each head reads what the one before made, and the token that it predicts (DeepSeek-AI 2024, arXiv:2412.19437, eq. 21-23).

    Args:
        layer: The model's last layer, which their blocks begin as copies of.
        norm: The model's final norm, which has a weight, and which their norms begin as copies of.
        number: Heads beside the model's own.
    """

    def __init__(self, layer: nn.Module, norm: nn.Module, number: int) -> None:
        super().__init__()
        weight = next(norm.parameters())
        width = len(weight)
        self.layers = nn.ModuleList(trainable_copy(layer) for _ in range(number))
        self.embedding_norms = nn.ModuleList(trainable_copy(norm) for _ in range(number))
        self.hidden_norms = nn.ModuleList(trainable_copy(norm) for _ in range(number))
        self.last_norms = nn.ModuleList(trainable_copy(norm) for _ in range(number))
        self.projections = nn.ModuleList(
            nn.Linear(2 * width, width, bias=False, device=weight.device, dtype=weight.dtype) for _ in range(number)
        )

    def __len__(self) -> int:
        return len(self.layers)

    def forward(self, head: int, call: LayerCall, before: Tensor, embedded: Tensor) -> Tensor:
        """Hidden states of one head (from 0) behind its own norm, `(batch, tokens, width)`.

        Args:
            head: Which.
            call: Of the model's last layer, for masks and positions.
            before: What the head before made; of the first one, what the output matrix of the model reads.
            embedded: Embeddings of the token `head + 1` places on, at each place.
        """
        pair = torch.cat([self.embedding_norms[head](embedded), self.hidden_norms[head](before)], dim=-1)
        return self.last_norms[head](call.run(self.layers[head], self.projections[head](pair)))
