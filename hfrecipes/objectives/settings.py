"""What a recipe says under `objective`, with its defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from hfrecipes.recipe.loader import Recipe

HeadKind = Literal["parallel", "chained"]
Curriculum = Literal["none", "forward", "reverse"]


@dataclass(frozen=True, slots=True)
class MTPSettings:
    """Multi-token prediction.

    Args:
        num_future_tokens: Tokens that are predicted at each position, the next one included.
        heads: `parallel` or `chained`.
        loss_weight: What the loss of each head counts beside that of the model's own.
        curriculum: `forward` adds one head after the other, `reverse` takes them away. Forward helps small models, which the
            full objective harms (Aynetdinov and Akbik 2025, arXiv:2505.22757).
        frozen_trunk: Whether the heads alone are trained, on a model that stays as it is.
        equal_parameters: Whether the trunk gives up as many layers as the heads have (Gloeckle et al. 2024, section 3).
    """

    num_future_tokens: int = 4
    heads: HeadKind = "parallel"
    loss_weight: float = 0.3
    curriculum: Curriculum = "forward"
    frozen_trunk: bool = False
    equal_parameters: bool = False


def mtp_settings(recipe: Recipe) -> MTPSettings | None:
    """The settings of a recipe whose objective is multi-token prediction; None for another."""
    section: dict[str, Any] = recipe.get("objective", {})
    if section.get("name") != "mtp":
        return None
    said = {field.name: section[field.name] for field in fields(MTPSettings) if section.get(field.name) is not None}
    return MTPSettings(**said)
