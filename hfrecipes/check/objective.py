"""Whether the objective's words go together, and with the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from hfrecipes.models.config import DEPTHS
from hfrecipes.objectives.settings import MTPSettings, mtp_settings
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem

# Fields of TRL's and transformers' configurations that make a loss of their own, which the heads would not be in.
_OTHER_LOSSES = ("use_liger_kernel", "label_smoothing_factor", "loss_type")


def objective_problems(recipe: Recipe) -> Iterator[Problem]:
    """What cannot be, or has no effect."""
    heads = mtp_settings(recipe)
    if heads is None:
        yield from _idle_words(recipe)
        return
    for word in _OTHER_LOSSES:
        key = f"training.{word}"
        if recipe.get(key):
            fault = f"{key} makes a loss of its own, and multi-token prediction has one over all heads"
            yield Problem(recipe.where(key), fault, "remove it, or say objective: {name: clm}")
    if heads.frozen_trunk:
        yield from _frozen_problems(recipe)
    if heads.equal_parameters:
        yield from _depth_problems(recipe, heads)


def _idle_words(recipe: Recipe) -> Iterator[Problem]:
    section = recipe.get("objective", {})
    for field in fields(MTPSettings):
        if section.get(field.name) is not None:
            key = f"objective.{field.name}"
            yield Problem(recipe.where(key), f"{key} belongs to name: mtp", "say name: mtp, or remove it")


def _frozen_problems(recipe: Recipe) -> Iterator[Problem]:
    key = "objective.frozen_trunk"
    if recipe.get("model.name_or_path") is None:
        fault = "heads would be trained on a trunk of random weights"
        yield Problem(recipe.where(key), fault, "name a model in model.name_or_path, or say frozen_trunk: false")
    if recipe.get("adapter"):
        yield Problem(recipe.where(key), f"{key} stands beside an adapter of the trunk", "keep one of them")


def _depth_problems(recipe: Recipe, heads: MTPSettings) -> Iterator[Problem]:
    key = "objective.equal_parameters"
    if heads.heads == "chained":
        fault = "chained heads have more than the layers of a trunk, so that parameters would not be equal"
        yield Problem(recipe.where(key), fault, "say heads: parallel, or equal_parameters: false")
    config = recipe.get("model.config")
    depth = next((config[name] for name in DEPTHS if name in config), None) if config else None
    if depth is None:
        fault = f"{key} takes layers out of model.config, which does not say how many there are"
        yield Problem(recipe.where(key), fault, "say model.config.num_hidden_layers, or equal_parameters: false")
    elif depth < heads.num_future_tokens:
        fault = (
            f"{key} takes {heads.num_future_tokens - 1} of {depth} layers away, and the trunk needs one that is left"
        )
        yield Problem(
            recipe.where(key), fault, f"take {heads.num_future_tokens} layers or more, or fewer future tokens"
        )
