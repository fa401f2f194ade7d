"""Families of tasks: which one a row is of, and training sources without those that are held out."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from hfrecipes.data.messages import is_missing, kind_of
from hfrecipes.data.row import Row, Source
from hfrecipes.data.slips import meant_by
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.validate import nearest

# Words that the recipe says of a source or, by a column, of each row; no model reads them.
TAGS = ("family", "kind")
_EXAMPLES = {"family": "translation", "kind": "refusal"}
# Kinds that are scored by rules of their own; any other word is a kind, too, so that a slip of the pen would make a new one.
SCORED_KINDS = ("refusal", "clarification", "chain_of_thought")


def tag_of(
    word: str, values: dict[str, Any], spec: dict[str, Any], where: str, column: str | None = None
) -> str | None:
    """What a row is tagged with: by its own column or by the source; None where it has no word in that column.

    Args:
        word: One of TAGS.
        values: Column -> value.
        spec: The source as the recipe names it.
        where: The row's place, for problems.
        column: Where the values still have their own names, the one to read; `word` by default.

    Raises:
        RecipeError: the cell is no string or nearly the name of a kind that is scored, or the column is missing.
    """
    if word not in (spec.get("columns") or {}):
        return _on_one_line(spec[word]) if spec.get(word) else None
    theirs, column = spec["columns"][word], column or word
    if column not in values:
        message = f"{word} (their column {theirs!r}) is missing; the row has {', '.join(map(repr, values))}"
        raise RecipeError(Problem(where, message, f"correct columns: {{{word}: …}}"))
    tag = values[column]
    if is_missing(tag):
        return None
    if not isinstance(tag, str):
        message = f"{word} (their column {theirs!r}) is {kind_of(tag)} where a string is expected"
        raise RecipeError(Problem(where, message, f"write a word such as {_EXAMPLES[word]}, or leave the cell empty"))
    if word == "kind" and (meant := _kind_meant(tag)):
        message = f"kind (their column {theirs!r}) is {tag!r}, which is scored as no {meant}"
        raise RecipeError(Problem(where, message, f"did you mean {meant}?"))
    return _on_one_line(tag) or None


@functools.lru_cache(maxsize=1024)
def _kind_meant(tag: str) -> str | None:
    """The kind that a tag nearly says; None where it says it exactly, or is another word."""
    if tag.strip() in SCORED_KINDS:
        return None
    return meant_by("_".join(tag.replace("-", " ").replace("_", " ").split()), SCORED_KINDS)


def tag_problems(spec: dict[str, Any], where: str) -> Iterator[Problem]:
    """Where a source says a tag twice, or an empty one."""
    for word in TAGS:
        if spec.get(word) is not None and word in (spec.get("columns") or {}):
            yield Problem(where, f"{word} is said twice: for the source, and by a column", "keep one of them")
        if spec.get(word) is not None and not spec[word].strip():
            fix = f"write a word such as {_EXAMPLES[word]}, or remove it"
            yield Problem(where, f"{word} is empty", fix)
    if isinstance(spec.get("kind"), str) and (meant := _kind_meant(spec["kind"])):
        yield Problem(where, f"kind is {spec['kind']!r}, which is scored as no {meant}", f"did you mean {meant}?")


def without_families(source: Source, spec: dict[str, Any]) -> Source:
    """A training source without the rows of the families that the recipe holds out.

    Args:
        source: All its rows.
        spec: What the recipe says of it, with `held_out_families`.

    Returns:
        The source; its notes say how many rows were left out, once they have been read.

    Raises:
        RecipeError: the whole source is of such a family.
    """
    families = frozenset(map(_on_one_line, spec["held_out_families"]))
    if spec.get("family") and _on_one_line(spec["family"]) in families:
        message = f"{source.title} is of the family {spec['family']!r}, which data.held_out_families holds out"
        raise RecipeError(Problem(source.where, message, "name it under data.test, or hold out other families"))
    if "family" not in (spec.get("columns") or {}):
        return source
    left_out: dict[str, int] = {}

    def read() -> Iterator[Row]:
        left_out.clear()
        for row in source.read():
            family = tag_of("family", row.values, spec, row.where, spec["columns"]["family"])
            if family in families:
                left_out[family] = left_out.get(family, 0) + 1
            else:
                yield row

    def notes() -> tuple[str, ...]:
        shown = ", ".join(f"{name} ({count:,})" for name, count in sorted(left_out.items()))
        of_families = (f"{source.title}: rows of held-out families are left out: {shown}",) if left_out else ()
        return (*source.notes(), *of_families)

    return replace(source, read=read, notes=notes, if_empty="hold out fewer families")


def refuse_unmeasured(recipe: Recipe, measured: Collection[str]) -> None:
    """A family is held out to be measured on; one that no row has is a slip of the pen, and nothing would be held out.

    Args:
        recipe: Says `data.held_out_families`.
        measured: The families of the rows of `data.eval` and `data.test`.

    Raises:
        RecipeError: naming the first that has no row there.
    """
    for index, family in enumerate(recipe.get("data.held_out_families", [])):
        if _on_one_line(family) not in measured:
            key = f"data.held_out_families.{index}"
            guess = nearest(family, measured)
            known = ", ".join(sorted(measured)) or "none: tag them with family:, or columns: {family: …}"
            fix = f"did you mean {guess}?" if guess else f"the families there: {known}"
            fault = f"{family!r} is held out, and no row of data.eval or data.test is of that family"
            raise RecipeError(Problem(recipe.where(key), fault, fix))


def unlearnt_families(recipe: Recipe, trained: Collection[str], measured: Collection[str]) -> list[str]:
    """A warning where figures of seen families hold some that no training row is tagged as.

    Args:
        recipe: May say `data.held_out_families`.
        trained: The families of the rows that are trained on.
        measured: Those of `data.eval` and `data.test`.
    """
    held_out = {_on_one_line(family) for family in recipe.get("data.held_out_families") or []}
    unlearnt = sorted(set(measured) - set(trained) - held_out) if held_out else []
    if not unlearnt:
        return []
    shown = ", ".join(unlearnt)
    return [f"figures of seen families hold {shown}, and no row of data.train is tagged so: hold them out, or tag it"]


def _on_one_line(tag: str) -> str:
    """Tags stand in tables and reports."""
    return " ".join(tag.split())
