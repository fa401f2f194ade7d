"""Answers that are good or not, one by one: as rows say it, or as preferences and rankings imply it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from hfrecipes.data.messages import kind_of
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.source_list import LABELLED

Example = dict[str, Any]
LABEL = "label"
# Characters of a label that a message shows.
_SHOWN = 40
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
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    raise RecipeError(Problem(where, f"label is {shown} where true or false is expected", "correct the row"))


def refuse_one_sided(recipe: Recipe, labels: Collection[bool]) -> None:
    """Answers of one sort alone have nothing that they are better or worse than: the cheapest way to raise, or to lower, all
    of them is to change whatever they have in common (Ethayarajh et al. 2024, arXiv:2402.01306, learn from both).

    Args:
        recipe: Of any kind.
        labels: Those of all rows that are trained on; none where there are no rows.

    Raises:
        RecipeError: all answers are good, or all are bad.
    """
    if recipe.kind not in LABELLED or len(set(labels)) != 1:
        return
    has, lacks = ("good", "bad") if True in labels else ("bad", "good")
    fault = (
        f"all answers of data.train are {has}, and kind: {recipe.kind} learns from how they differ from {lacks} ones"
    )
    fix = f"add rows with label: {str(lacks == 'good').lower()}" + ("; or use kind: sft" if has == "good" else "")
    raise RecipeError(Problem(recipe.where("data.train"), fault, fix))
