"""Where a recipe names its sources: in a list for each role; what is trained on may stand by name in a mixture instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hfrecipes.recipe.mixture_words import OF_MIXTURE
from hfrecipes.recipe.yaml_reader import Keys

ROLES = ("train", "eval", "test")

# Kinds of recipes that learn from answers to one prompt, of which one is better.
COMPARING = ("reward", "dpo", "orpo")
# Kinds that learn from answers that are good or not, each by itself.
LABELLED = ("kto",)
# Answers prompts, scores what it said, and learns nothing.
SAMPLE = "sample"
# Kinds whose rows are prompts that the model itself answers; all others of them learn from what they say.
PROMPTED = ("ppo", "grpo", "rloo", SAMPLE)
# Those of them that compare several answers to the same prompt.
GROUPED = ("grpo", "rloo")

_MIXTURE: Keys = ("data", "mixture", "sources")


def sources_of(values: dict[str, Any], role: str) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """The keys and the spec of each source of a role, as the recipe says it.

    Args:
        values: The recipe as nested dicts and lists.
        role: `train`, `eval` or `test`.
    """
    data = values.get("data") or {}
    for index, spec in enumerate(data.get(role) or []):
        yield ("data", role, index), spec
    if role == "train":
        mixed = (data.get("mixture") or {}).get("sources") or {}
        yield from (((*_MIXTURE, name), spec) for name, spec in mixed.items() if spec is not None)


def without_mixing(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec without the words that say how much of the source is trained on."""
    return {word: value for word, value in spec.items() if word not in OF_MIXTURE}


def without_held_out(values: dict[str, Any], role: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A spec with the families of tasks whose rows are not trained on, where the recipe holds some out."""
    families = (values.get("data") or {}).get("held_out_families")
    return {**spec, "held_out_families": families} if role == "train" and families else spec


def as_read(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A spec with what the kind of the recipe says of its rows, where the spec says nothing itself.

    A reward model sees all answers of a ranking together, so that a prompt counts once however many pairs it has (Ouyang et
    al. 2022, section 3.5: as single pairs they are overfitted within one epoch).
    """
    if kind in PROMPTED:
        return {**spec, "prompts": True}
    if kind in LABELLED:
        return {**spec, "labelled": True}
    if kind not in COMPARING:
        return spec
    spec = spec if spec.get("task") else {**spec, "task": "comparison"}
    ranked = spec["task"] in ("comparison", "ranking")
    return {**spec, "pairs": "together"} if kind == "reward" and ranked and not spec.get("pairs") else spec
