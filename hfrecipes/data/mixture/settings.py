"""What a recipe says under `data.mixture`, read once and held against itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfrecipes.data.mixture.weights import Weight, shares_at
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

_PER_PARAMETER = re.compile(r"(\d+(?:\.\d+)?)x")
# Names stand in keys of overrides and figures.
_NAME = re.compile(r"\w[\w-]*")
# Places at which shares are looked at for a source to draw from; the points of all weights come on top.
_LOOKED_AT = 1001


@dataclass(frozen=True, slots=True)
class MixtureSettings:
    """The words of a recipe's mixture.

    Args:
        weights: By source, in shares of tokens; None where they go by the tokens of the sources.
        names: The sources.
        max_epochs: How often the rows of a source may be seen, where that is bounded.
        total_tokens: Tokens in all; None where the recipe counts them in another way.
        tokens_per_parameter: The same for each parameter of the model.
        temperature: Flattens shares that go by tokens.
        seed: Chooses the order.
        block: Rows between two looks at the weights; None chooses.
    """

    weights: dict[str, Weight] | None
    names: tuple[str, ...]
    max_epochs: dict[str, float]
    total_tokens: int | None
    tokens_per_parameter: float | None
    temperature: float
    seed: int
    block: int | None

    def asked_tokens(self, parameters: int | None) -> float | None:
        """Tokens to train on; None where the recipe counts in steps or epochs, or nobody knows the parameters."""
        if self.tokens_per_parameter is None:
            return self.total_tokens
        return None if parameters is None else self.tokens_per_parameter * parameters


def mixture_settings(recipe: Recipe) -> MixtureSettings | None:
    """Reads the mixture of a recipe; None where it has none.

    Raises:
        RecipeError: with all that is wrong with it.
    """
    if recipe.get("data.mixture") is None:
        return None
    sources = {name: spec for name, spec in recipe.get("data.mixture.sources", {}).items() if spec is not None}
    problems = [*_problems(recipe, sources)]
    weights = {}
    for name, spec in sources.items():
        if spec.get("weight") is None:
            continue
        try:
            weights[name] = Weight.of(spec["weight"], spec.get("interpolation") or "linear")
        except ValueError as error:
            key = f"data.mixture.sources.{name}.weight"
            fix = "write a number, or [[0, 0.9], [1, 0.3]]: progress from 0 to 1, and the weight there"
            problems.append(Problem(recipe.where(key), f"{key}: {error}", fix))
    if not problems and weights:
        problems += _gaps(recipe, weights)
    if problems:
        raise RecipeError(problems)
    tokens, each = _total(recipe)
    return MixtureSettings(
        weights=weights or None,
        names=tuple(sources),
        max_epochs={name: spec["max_epochs"] for name, spec in sources.items() if spec.get("max_epochs") is not None},
        total_tokens=tokens,
        tokens_per_parameter=each,
        temperature=recipe.get("data.mixture.temperature", 1.0),
        seed=recipe.get("data.mixture.seed", 0),
        block=recipe.get("data.mixture.block"),
    )


def _total(recipe: Recipe) -> tuple[int | None, float | None]:
    """Tokens in all, and tokens for each parameter: one of them at most."""
    said = recipe.get("data.mixture.total_tokens")
    if isinstance(said, str) and (found := _PER_PARAMETER.fullmatch(said.strip())):
        return None, float(found[1])
    return None if said is None else int(said), None


def _problems(recipe: Recipe, sources: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    here = recipe.where("data.mixture")
    if recipe.get("data.train"):
        fix = "move these sources under data.mixture.sources, each with a name"
        yield Problem(recipe.where("data.train"), "data.train stands beside data.mixture", fix)
    if not sources:
        fix = "add some, as in sources: {web: {path: web.jsonl, weight: 0.8}, books: {path: books, weight: 0.2}}"
        yield Problem(here, "data.mixture names no sources", fix)
    for name in sources:
        if not _NAME.fullmatch(str(name)):
            key = f"data.mixture.sources.{name}"
            yield Problem(recipe.where(key), f"{name!r} cannot name a source", "use letters, digits, - and _")
    yield from _weight_problems(recipe, sources)
    yield from _length_problems(recipe)
    strategy = recipe.get("training.packing_strategy", "bfd")
    if recipe.get("training.packing") and strategy == "wrapped":
        fault = "wrapped packing joins the rows of all sources, so that none has a share"
        yield Problem(recipe.where("training.packing_strategy"), fault, "say packing_strategy: bfd_split")


def _weight_problems(recipe: Recipe, sources: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    """Weights that are said of some sources only, and words that need them or need them gone."""
    bare = [name for name, spec in sources.items() if spec.get("weight") is None]
    if bare and len(bare) < len(sources):
        fix = "give every source a weight, or none: then its tokens decide"
        names = f"{', '.join(bare)} {'has' if len(bare) == 1 else 'have'} no weight"
        yield Problem(recipe.where(f"data.mixture.sources.{bare[0]}"), names, fix)
    if recipe.get("data.mixture.temperature") is not None and len(bare) < len(sources):
        key = "data.mixture.temperature"
        yield Problem(recipe.where(key), f"{key} has no effect beside weights", "keep one of them")
    for name, spec in sources.items():
        if spec.get("interpolation") is not None and not isinstance(spec.get("weight"), list):
            key = f"data.mixture.sources.{name}.interpolation"
            fix = "remove it, or write a weight such as [[0, 0.9], [1, 0.3]]"
            yield Problem(recipe.where(key), f"{key} has no effect: the weight does not change", fix)


def _length_problems(recipe: Recipe) -> Iterator[Problem]:
    for word in ("save", "eval", "logging"):
        key = f"training.{word}_strategy"
        if recipe.get(key) == "epoch":
            fault = f"{key} is epoch, and a mixture has none: each source is passed over in its own time"
            yield Problem(recipe.where(key), fault, f"say {word}_steps; below 1 it is a share of all steps")
    key = "data.mixture.total_tokens"
    said = recipe.get(key)
    if said is None:
        return
    number = (
        said if not isinstance(said, str) else (found := _PER_PARAMETER.fullmatch(said.strip())) and float(found[1])
    )
    if not number or number < 0 or (not isinstance(said, str) and number != int(number)):
        yield Problem(recipe.where(key), f"{key} is {said!r}", "write a count, or 20x for 20 tokens a parameter")
    for word in ("training.max_steps", "training.num_train_epochs"):
        if recipe.get(word, -1) > 0:
            yield Problem(recipe.where(word), f"{word} and {key} both say how long to train", "keep one of them")


def _gaps(recipe: Recipe, weights: dict[str, Weight]) -> list[Problem]:
    """Where all weights are 0, nothing could be drawn."""
    places = [place for weight in weights.values() for place, _ in weight.points]
    try:
        shares_at(weights, np.unique([*np.linspace(0, 1, _LOOKED_AT), *places]))
    except ValueError as error:
        return [Problem(recipe.where("data.mixture"), str(error), "give a source a weight above 0 there")]
    return []
