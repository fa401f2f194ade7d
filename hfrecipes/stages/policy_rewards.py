"""From `rewards:` to what trainers of policies take: functions, classifiers with tokenizers, adapters on the policy's base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hfrecipes.models.adapters import adapter_base, is_adapter
from hfrecipes.models.load import base_of
from hfrecipes.models.reward import HEAD, Normalisation, is_reward_adapter, load_reward_model, normalisation_of
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.reward_words import FUNCTION, MODEL, WEIGHT, own_words, reward_specs
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.rewards.load import load_reward
from hfrecipes.trainers.ppo.scorers import Completed, Scores


@dataclass(frozen=True, slots=True)
class OpenedReward:
    """One reward, ready for a trainer.

    Args:
        scores: A function, a classifier, or the folder of an adapter on the policy's base.
        name: In metrics and facts.
        tokenizer: A classifier's own.
        normalisation: What scores are still to be brought to mean 0 and variance 1 by.
    """

    scores: Any
    name: str
    tokenizer: Any = None
    normalisation: Normalisation | None = None


class NormalisedScorer:
    """Scores of a scorer, brought to the mean 0 and the variance 1 that they had where the reward model was measured.

    Args:
        scorer: Gives them.
        normalisation: Of that model.
    """

    def __init__(self, scorer: Any, normalisation: Normalisation) -> None:
        self.scorer, self.normalisation, self.__name__ = scorer, normalisation, scorer.__name__

    def __call__(self, completed: Completed) -> Scores:
        scores, tokens = self.scorer(completed)
        return self.normalisation.apply(scores), tokens


def open_rewards(recipe: Recipe, has_adapter: bool) -> list[OpenedReward]:
    """All rewards of a recipe, in its order.

    Args:
        recipe: With `rewards`.
        has_adapter: Whether the policy is trained through an adapter, so that others fit beside it.

    Raises:
        RecipeError: one of them cannot be loaded.
    """
    return [
        _model(recipe, key, spec, has_adapter) if MODEL in spec else _function(recipe, key, spec)
        for key, spec in ((f"rewards.{place}", spec) for place, spec in enumerate(reward_specs(recipe)))
    ]


def reward_name(spec: dict[str, Any]) -> str:
    """What a reward is called: the function, or the folder or repository of the model."""
    if FUNCTION in spec:
        return spec[FUNCTION].rpartition(":")[2]
    parts = spec[MODEL].rstrip("/").split("/")
    return parts[-2] if parts[-1] == "model" and len(parts) > 1 else parts[-1]


def reward_folder(recipe: Recipe, spec: dict[str, Any]) -> Path | str:
    """The folder of a reward's model, a run's included; its Hub id where there is no such folder."""
    folder = recipe.find_file(spec[MODEL])
    if not folder.exists():
        return spec[MODEL]
    run = RunDir(folder)
    return run.model if run.facts_file.is_file() and run.model.is_dir() else folder


def _function(recipe: Recipe, key: str, spec: dict[str, Any]) -> OpenedReward:
    function = load_reward(own_words(spec), recipe.where(key), recipe.path.parent)
    return OpenedReward(function, reward_name(spec))


def _model(recipe: Recipe, key: str, spec: dict[str, Any], has_adapter: bool) -> OpenedReward:
    place, name, where = reward_folder(recipe, spec), reward_name(spec), recipe.where(f"{key}.{MODEL}")
    normalisation = normalisation_of(place)
    if is_adapter(place) and has_adapter and adapter_base(Path(place))[0] == _policy_base(recipe):
        if not is_reward_adapter(Path(place)):
            raise RecipeError(Problem(where, f"{place} is an adapter of a language model", "name a reward model"))
        return OpenedReward(str(place), name, None, normalisation)
    words = {word: value for word, value in spec.items() if word not in (MODEL, WEIGHT)}
    if is_adapter(place) and words:
        raise RecipeError(Problem(where, f"{', '.join(words)} is for whole models", "remove it beside an adapter"))
    model, tokenizer = load_reward_model(place, **words)
    model = model.merge_and_unload() if is_adapter(place) else model
    if normalisation is not None and _fold(model, normalisation):
        normalisation = None
    return OpenedReward(model, name, tokenizer, normalisation)


def _policy_base(recipe: Recipe) -> str | None:
    name = recipe.get("model.name_or_path")
    folder = recipe.find_file(name) if name else None
    return adapter_base(folder)[0] if folder is not None and is_adapter(folder) else base_of(recipe)[0]


def _fold(model: Any, normalisation: Normalisation) -> bool:
    """Puts mean and deviation into the head itself, from which values may begin; whether it has one that takes them."""
    head = getattr(model, HEAD, None)
    if not isinstance(head, torch.nn.Linear):
        return False
    with torch.no_grad():
        before = torch.zeros(1, device=head.weight.device) if head.bias is None else head.bias.float()
        bias = (before - normalisation.mean) / normalisation.std
        head.weight.div_(normalisation.std)
        head.bias = torch.nn.Parameter(bias.to(head.weight.dtype), requires_grad=False)
    return True
