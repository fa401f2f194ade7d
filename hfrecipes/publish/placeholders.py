"""What was left where a value should stand in a card, told from names that only look like it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hfrecipes.publish.escaping import inline_text, markdown_cell
from hfrecipes.publish.markdown import Line
from hfrecipes.publish.naming import portable_value
from hfrecipes.publish.origin import name_of
from hfrecipes.publish.terms import metric_title

# What Python and the common templates leave where a value was missing.
_PLACEHOLDER = re.compile(
    r"\bNone\b|\b[Nn]a[Nn]\b|\[?More Information Needed\]?|\bTODO\b|\bTBD\b|\bFIXME\b|\{\{|\}\}|<(?:your|insert)[^>]*>",
    re.ASCII,
)

# Where the tables and lists of a card have their names from.
_FACTS = ("data", "evaluations", "versions", "hardware", "cleaning", "augmentation")
_SECTIONS = ("training", "objective", "adapter", "quantization")


def placeholders(lines: list[Line], facts: dict[str, Any] | None = None) -> Iterator[tuple[int, str]]:
    """Line and text of each placeholder; code is not looked at, in which a card writes the names of runs and data.

    Args:
        lines: The body of the card.
        facts: The contents of run.json. With them, the title may be the run's name, whatever that is, and tables and lists
            may hold what data, metrics and settings are called.
    """
    facts = facts or {}
    title = inline_text(name_of(facts))
    # Titles of metrics are written in words.
    said = {spelt for name in _names(facts) for spelt in (name, metric_title(name)) if _PLACEHOLDER.search(spelt)}
    names = sorted({form(name) for name in said for form in (markdown_cell, inline_text)}, key=len, reverse=True)
    for line in lines:
        prose = "" if line.level == 1 and line.title == title else line.prose
        if prose.startswith(("|", "- ")):
            for name in names:
                prose = prose.replace(name, "")
        yield from ((line.number, match.group()) for match in _PLACEHOLDER.finditer(prose))


def _names(facts: dict[str, Any]) -> Iterator[str]:
    recipe = facts.get("recipe") or {}
    for section in [*map(facts.get, _FACTS), *map(recipe.get, _SECTIONS)]:
        yield from _strings(portable_value(section))


def _strings(value: Any) -> Iterator[str]:
    """Every string in nested dicts and lists, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for entry in [*value, *value.values()] if isinstance(value, dict) else value:
            yield from _strings(entry)
