"""Whether rotary positions can be changed as a recipe asks, and whether there is text for needles and short rows."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hfrecipes.check.model import context_length, look_at_model
from hfrecipes.data.sources import open_source
from hfrecipes.models.config import build_config, config_fields
from hfrecipes.models.rope_config import WORDS, change_config, rope_change
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.pipeline import Step
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.recipe.schema import load_schema

# A needle, its question and one sentence of text.
SHORTEST_PROMPT = 64


def long_context_problems(recipe: Recipe, config: dict[str, Any]) -> list[Problem]:
    """What is wrong with the words of long context.

    Args:
        recipe: The recipe.
        config: The starting model's config, as far as it is at hand.
    """
    return [*_rope_problems(recipe, config), *_needle_problems(recipe), *_short_problems(recipe)]


def chained_rope_problems(steps: Sequence[Step], run_dir: Path) -> list[Problem]:
    """What is wrong with changes of positions in a pipeline, each on top of those before: found before the first step runs."""
    if not any(rope_change(step.recipe) for step in steps):
        return []
    problems: list[Problem] = []
    after: dict[str, Any] = {}
    for step in steps:
        name = step.recipe.get("model.name_or_path")
        config = after[name] if name in after else _config(step.recipe, look_at_model(step.recipe, ()).config)
        changed, found = _changed(step.recipe, config)
        problems += found
        after[str(RunDir(run_dir / step.name).model)] = changed
    return problems


def _rope_problems(recipe: Recipe, config: dict[str, Any]) -> Iterator[Problem]:
    if rope_change(recipe) is None:
        return
    word = next(word for word in WORDS if recipe.get(f"model.{word}") is not None)
    where = recipe.where(f"model.{word}")
    if recipe.get("model.config") is not None:
        yield Problem(where, f"model.{word} stands beside model.config", f"write {word} into model.config")
        return
    if recipe.get("adapter") is not None:
        fix = "train all weights, with adapter: null, or change the positions in a step of its own before"
        yield Problem(where, f"model.{word} would not be saved: an adapter's files hold no config of the model", fix)
    model_type = config.get("model_type") or recipe.get("model.model_type")
    fields = load_schema()["$defs"]["configs"].get(model_type)
    if fields is not None and "rope_parameters" not in fields:
        fault = f"{model_type} has no rotary positions that follow rope_parameters"
        yield Problem(where, fault, "start from a model that has, such as llama, qwen3 or gpt_neox")
        return
    yield from _changed(recipe, _config(recipe, config))[1]


def _config(recipe: Recipe, found: dict[str, Any]) -> Any:
    """The transformers config that a step starts from; None where it is not at hand, or is refused, which others say."""
    fields = config_fields(recipe) if recipe.get("model.config") else found
    if not fields.get("model_type"):
        return None
    try:
        return build_config(fields)
    except ValueError:
        return None


def _changed(recipe: Recipe, config: Any) -> tuple[Any, list[Problem]]:
    """A config with a recipe's change of positions, and what is wrong with that."""
    change = rope_change(recipe)
    if change is None or config is None:
        return config, []
    config, where = copy.deepcopy(config), recipe.where("model.rope_parameters")
    try:
        change_config(config, change)
    except ValueError as error:
        return config, [
            Problem(where, f"the model's positions cannot be changed: {error}", "correct model.rope_parameters")
        ]
    key, length = context_length(recipe)
    positions = config.get_text_config().max_position_embeddings
    if length is not None and length > positions:
        fault = f"{key} is {length}, and model.max_position_embeddings {positions}"
        fix = f"raise max_position_embeddings to {length}, or leave it out"
        return config, [Problem(recipe.where("model.max_position_embeddings"), fault, fix)]
    return config, []


def _needle_problems(recipe: Recipe) -> Iterator[Problem]:
    key = "evaluation.needle"
    if recipe.get(key) is None:
        return
    for index, length in enumerate(recipe.get(f"{key}.lengths") or []):
        if length < SHORTEST_PROMPT:
            fix = f"at least {SHORTEST_PROMPT} tokens leave room for a sentence beside the needle"
            yield Problem(recipe.where(f"{key}.lengths.{index}"), f"{key}.lengths has {length}", fix)
    for index, depth in enumerate(recipe.get(f"{key}.depths") or []):
        if not 0 <= depth <= 1:
            fix = "depths go from 0, the beginning of the text, to 1, its end"
            yield Problem(recipe.where(f"{key}.depths.{index}"), f"{key}.depths has {depth:g}", fix)
    haystack = recipe.get(f"{key}.haystack") or []
    if not haystack and not recipe.sources("eval"):
        yield Problem(recipe.where(key), f"{key} has no text to hide needles in", "say data.eval, or a haystack")
    for index, spec in enumerate(haystack):
        try:
            open_source(spec, recipe, recipe.where(f"{key}.haystack.{index}"))
        except RecipeError as error:
            yield from error.problems


def _short_problems(recipe: Recipe) -> Iterator[Problem]:
    key = "evaluation.short_context"
    short = recipe.get(key)
    if short is None:
        return
    if not recipe.sources("eval"):
        yield Problem(recipe.where(key), f"{key} measures data.eval, which is missing", "say data.eval")
    length = context_length(recipe)[1]
    if length is not None and short > length:
        fix = "say how long the rows were that the model read before"
        yield Problem(recipe.where(key), f"{key} is {short}, longer than the rows of {length} tokens", fix)
