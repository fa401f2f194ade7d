"""What makes values: a head on the policy's hidden states, or a model of its own."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfrecipes.recipe.problem import Problem, RecipeError


class ValueHead(nn.Module):
    """One number for each hidden state, zero before anything is learnt. Its weights and its work are float32.

    Args:
        width: Of the hidden states.
        detach: Whether its gradient ends here.
        weight: `(width,)` to begin with; zeros where it is None.
        bias: To begin with.
    """

    def __init__(self, width: int, detach: bool = False, weight: Tensor | None = None, bias: float = 0.0) -> None:
        super().__init__()
        self.detach = detach
        start = torch.zeros(1, width) if weight is None else weight.detach().float().reshape(1, width).clone()
        self.weight = nn.Parameter(start)
        self.bias = nn.Parameter(torch.full((1,), bias))

    def forward(self, hidden: Tensor, responses: Tensor | None = None, inputs: dict[str, Any] | None = None) -> Tensor:
        """Values `(tokens,)` of hidden states `(tokens, width)`."""
        hidden = hidden.detach() if self.detach else hidden
        with torch.autocast(hidden.device.type, enabled=False):
            return functional.linear(hidden.float(), self.weight.float(), self.bias.float())[:, 0]


class ValueModel(nn.Module):
    """A model without its head, and a value head on it.

    Args:
        backbone: Gives `last_hidden_state`.
        head: On these.
    """

    def __init__(self, backbone: nn.Module, head: ValueHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, hidden: Tensor, responses: Tensor, inputs: dict[str, Any]) -> Tensor:
        """Values `(tokens,)`; the policy's hidden states are not read."""
        states = self.backbone(input_ids=inputs["input_ids"], use_cache=False, return_dict=True).last_hidden_state
        return self.head(states.flatten(0, 1).index_select(0, responses))


def value_from_policy(model: Any, width: int) -> ValueModel:
    """A copy of the policy's layers as they are now, trained whole, under a zero head."""
    backbone = copy.deepcopy(model.base_model)
    backbone.requires_grad_(True)
    return ValueModel(backbone, ValueHead(width))


def value_from_classifier(model: Any) -> ValueModel:
    """A copy of a reward model, which reads every token instead of the last one (InstructGPT begins so).

    Args:
        model: A sequence classifier with one label.

    Raises:
        RecipeError: its head is no single layer.
    """
    head = getattr(model, "score", None) or getattr(model, "classifier", None)
    linear = getattr(head, "modules_to_save", {}).get("default", head) if head is not None else None
    if not isinstance(linear, nn.Linear) or linear.out_features != 1:
        fault = f"{type(model).__name__} has no single layer that gives one score"
        raise RecipeError(Problem("value_model", fault, "give a decoder that classifies sequences, with num_labels=1"))
    backbone = copy.deepcopy(model.base_model)
    backbone.requires_grad_(True)
    bias = 0.0 if linear.bias is None else float(linear.bias)
    return ValueModel(backbone, ValueHead(linear.in_features, weight=linear.weight, bias=bias))
