"""Whether the objective's words go together, and with the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from hfrecipes.data.mixture.weights import Weight
from hfrecipes.models.config import DEPTHS
from hfrecipes.models.mtp.beside import FILE, heads_beside, spoken
from hfrecipes.objectives.settings import MTPSettings, mtp_settings
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem

# Fields of TRL's and transformers' configurations that make a loss of their own, which the heads would not be in.
_OTHER_LOSSES = ("use_liger_kernel", "label_smoothing_factor", "loss_type")


def objective_problems(recipe: Recipe) -> Iterator[Problem]:
    """What cannot be, or has no effect."""
    heads = mtp_settings(recipe)
    yield from _saved_head_problems(recipe, heads)
    if heads is None:
        yield from _idle_words(recipe)
        return
    yield from _weight_problems(recipe, heads)
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


def _weight_problems(recipe: Recipe, heads: MTPSettings) -> Iterator[Problem]:
    key, weight = "objective.loss_weight", heads.loss_weight
    by_progress = isinstance(weight, list) and not heads.is_by_head
    fix = "write a number, [0.3, 0.2, 0.1] by head, or [[0, 0.3], [0.67, 0.1]]: progress from 0 to 1, and the weight there"
    if heads.is_by_head:
        further = heads.num_future_tokens - 1
        if len(weight) != further:
            fault = f"{key} has {len(weight)} weights, and there are {further} heads beside the model's own"
            yield Problem(recipe.where(key), fault, "give each of them one, or a single number for all")
        for number, each in enumerate(weight):
            if each < 0:
                yield Problem(recipe.where(f"{key}.{number}"), f"{key}.{number} is {each}", "it is at least 0")
    elif by_progress:
        try:
            Weight.of(weight, heads.interpolation)
        except ValueError as error:
            yield Problem(recipe.where(key), f"{key}: {error}", fix)
    if recipe.get("objective.interpolation") is not None and not by_progress:
        place = "objective.interpolation"
        yield Problem(recipe.where(place), f"{place} has no effect: {key} has no points", "remove it", "warning")


def _saved_head_problems(recipe: Recipe, heads: MTPSettings | None) -> Iterator[Problem]:
    """Heads that the model comes with are gone on with, or left behind."""
    key, name = "model.name_or_path", recipe.get("model.name_or_path")
    if name is None:
        return
    try:
        saved = heads_beside(recipe.find_file(name))
    except ValueError as error:
        yield Problem(recipe.where(key), str(error), "save the model again, or remove that file")
        return
    if saved is None:
        return
    if heads is None:
        fault = f"{name} has {spoken(saved)}, which this run leaves behind: its objective has the model's own alone"
        words = f"{{name: mtp, heads: {saved['heads']}, num_future_tokens: {saved['num_future_tokens']}}}"
        yield Problem(recipe.where(key), fault, f"to go on with them, say objective: {words}", "warning")
        return
    wanted = {"heads": heads.heads, "num_future_tokens": heads.num_future_tokens}
    if saved != wanted:
        fault = f"{name} has {spoken(saved)}, and the objective asks for {spoken(wanted)}"
        fix = f"say heads: {saved['heads']} and num_future_tokens: {saved['num_future_tokens']}, or remove {FILE} there"
        yield Problem(recipe.where("objective"), fault, fix)


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
