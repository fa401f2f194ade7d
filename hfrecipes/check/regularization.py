"""Whether `model.dropout` and `optimizer` say what the architecture and the trainer can do."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.regularization_words import DECAY_GROUPS, dropout_fields, dropout_parts
from hfrecipes.recipe.schema import load_schema
from hfrecipes.recipe.smoke import model_type_of
from hfrecipes.recipe.validate import nearest

# Kinds whose configs turn all dropout off where a recipe does not say otherwise: the model is compared with itself.
_WITHOUT = ("reward", "dpo", "kto", "orpo", "ppo")
# Optimizers that sort the parameters themselves, and take no groups.
_OWN_GROUPS = ("galore_", "apollo_", "lomo", "adalomo")


def regularization_problems(recipe: Recipe, config: dict[str, Any]) -> list[Problem]:
    """What is wrong with `model.dropout` and `optimizer`.

    Args:
        recipe: The recipe.
        config: The starting model's, as far as it is at hand.
    """
    return [*_dropout_problems(recipe, config), *_decay_problems(recipe)]


def _dropout_problems(recipe: Recipe, config: dict[str, Any]) -> Iterator[Problem]:
    asked = {part: share for part, share in (recipe.get("model.dropout") or {}).items() if share is not None}
    model_type, known = _fields(recipe, config)
    for part, share in asked.items():
        where, fields = recipe.where(f"model.dropout.{part}"), dropout_fields(part, known)
        if part == "classifier" and recipe.kind != "reward":
            yield Problem(where, f"model.dropout.classifier: nothing classifies in kind: {recipe.kind}", "remove it")
        elif known and not fields:
            fault = f"model.dropout.{part}: {model_type} has no word for it"
            yield Problem(where, fault, f"it has {dropout_parts(known) or 'no dropout at all'}")
        for field in fields:
            if recipe.get(f"model.config.{field}") is not None:
                fault = f"model.dropout.{part} and model.config.{field} are the same"
                yield Problem(where, fault, "keep one of them")
        if share and recipe.kind in _WITHOUT and recipe.get("training.disable_dropout", True):
            fault = f"model.dropout.{part} has no effect: training.disable_dropout, the default of kind: {recipe.kind}"
            yield Problem(where, fault, "say training.disable_dropout: false, or remove it")


def _fields(recipe: Recipe, config: dict[str, Any]) -> tuple[str | None, Collection[str]]:
    """The architecture of the text, and the fields of its config; none where it is not known here."""
    configs = load_schema()["$defs"]["configs"]
    text = (config.get("text_config") or {}).get("model_type")
    model_type = text or config.get("model_type") or model_type_of(recipe)
    return model_type, {**configs[""], **configs[model_type]} if model_type in configs else {}


def _decay_problems(recipe: Recipe) -> Iterator[Problem]:
    chosen, where = recipe.get("optimizer.no_decay"), recipe.where("optimizer.no_decay")
    if chosen is None:
        return
    for word in chosen:
        # A name of a parameter has dots, and a pattern characters that stand for others.
        if word not in DECAY_GROUPS and not set(word) & set(".*?["):
            guess = nearest(word, DECAY_GROUPS)
            fix = (
                f"did you mean {guess}?"
                if guess
                else f"groups are {', '.join(DECAY_GROUPS)}; patterns are like '*.A_log'"
            )
            yield Problem(where, f"optimizer.no_decay: {word!r} is neither a group nor a pattern of names", fix)
    name = str(recipe.get("training.optim", ""))
    if name.startswith(_OWN_GROUPS):
        fault = f"optimizer.no_decay stands beside training.optim {name}, which sorts the parameters itself"
        yield Problem(where, fault, "take another optimizer, such as adamw_torch, or remove it")
    elif not recipe.get("training.weight_decay"):
        yield Problem(
            where, "optimizer.no_decay has no effect: no weight decays", "add training.weight_decay", "warning"
        )
