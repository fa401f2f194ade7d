"""Answers that are good or not, one by one: as rows say it, or as preferences and rankings imply it."""

from __future__ import annotations

from typing import Any

from hfrecipes.data.messages import kind_of
from hfrecipes.recipe.problem import Problem, RecipeError

Example = dict[str, Any]
LABEL = "label"
_WORDS = {"true": True, "false": False, "1": True, "0": False}


def is_labelled(values: dict[str, Any]) -> bool:
    """Whether a row is an answer with its label, rather than answers that are compared."""
    return "completion" in values and LABEL in values


def labelled_examples(examples: list[Example], values: dict[str, Any], where: str) -> list[Example]:
    """Examples `{"prompt", "completion", "label"}` of the examples that a row makes.

    Of two answers that are compared, the chosen one is good and the other one is not.

    Args:
        examples: `{"prompt", "completion"}`, or some of `{"prompt", "chosen", "rejected"}`.
        values: The row under our names, with its `label`.
        where: The row's place, for problems.

    Raises:
        RecipeError: the label is neither true nor false, or of a ranking all answers are tied.
    """
    if is_labelled(values) and not any("chosen" in example for example in examples):
        label = _truth(values[LABEL], where)
        return [example | {LABEL: label} for example in examples]
    made = []
    for example in examples:
        if "completion" in example:
            fix = "give label: true or false, or name yours with columns: {label: theirs}"
            raise RecipeError(Problem(where, "has an answer, and no label that says whether it is good", fix))
        if "chosen" not in example:
            fix = "remove the row: no answer in it is better than another"
            raise RecipeError(Problem(where, "has answers that are all tied, so none is good or bad", fix))
        beside = {name: part for name, part in example.items() if name not in ("chosen", "rejected", "margin")}
        made += [beside | {"completion": example[side], LABEL: side == "chosen"} for side in ("chosen", "rejected")]
    return made


def _truth(value: Any, where: str) -> bool:
    if isinstance(value, bool):
        return value
    said = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip().lower()
    if said in _WORDS:
        return _WORDS[said]
    shown = repr(value) if isinstance(value, str | int | float) else kind_of(value)
    raise RecipeError(Problem(where, f"label is {shown} where true or false is expected", "correct the row"))
