"""What a recipe says under `objective`, with its defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from hfrecipes.data.mixture.weights import Interpolation
from hfrecipes.recipe.loader import Recipe

HeadKind = Literal["parallel", "chained"]
Curriculum = Literal["none", "forward", "reverse"]
# One number for all further heads, one for each of them, or [progress, weight] points.
LossWeight = float | list[float] | list[list[float]]


@dataclass(frozen=True, slots=True)
class MTPSettings:
    """Multi-token prediction.

    Args:
        num_future_tokens: Tokens that are predicted at each position, the next one included.
        heads: `parallel` or `chained`.
        loss_weight: What the loss of each further head counts beside that of the model's own: a number, a list of one for
            each, or `[progress, weight]` points over the training, as the weights of a mixture have.
        curriculum: `forward` adds one head after the other, `reverse` takes them away. Forward helps small models, which the
            full objective harms (Aynetdinov and Akbik 2025, arXiv:2505.22757).
        frozen_trunk: Whether the heads alone are trained, on a model that stays as it is.
        equal_parameters: Whether the trunk gives up as many layers as the heads have (Gloeckle et al. 2024, section 3).
        interpolation: Between the points of `loss_weight`.
    """

    num_future_tokens: int = 4
    heads: HeadKind = "parallel"
    loss_weight: LossWeight = 0.3
    curriculum: Curriculum = "forward"
    frozen_trunk: bool = False
    equal_parameters: bool = False
    interpolation: Interpolation = "linear"

    @property
    def is_by_head(self) -> bool:
        """Whether each further head has a weight of its own."""
        return isinstance(self.loss_weight, list) and not any(isinstance(each, list) for each in self.loss_weight)


def mtp_settings(recipe: Recipe) -> MTPSettings | None:
    """The settings of a recipe whose objective is multi-token prediction; None for another."""
    section: dict[str, Any] = recipe.get("objective", {})
    if section.get("name") != "mtp":
        return None
    said = {field.name: section[field.name] for field in fields(MTPSettings) if section.get(field.name) is not None}
    return MTPSettings(**said)
