"""Holds the figures of a card against the facts of its run: a card may be put in other words, never in other numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from hfrecipes.publish.card import EVALUATION_HEADING, render_card
from hfrecipes.publish.header import model_index
from hfrecipes.publish.markdown import Line, as_list, body_lines, header_line, section_table, split_header

# Line, what is wrong, how to mend it.
Fault = tuple[int, str, str]

_ONLY_MEASURED = "a card may only say what the run measured"
_AGAIN = "render the card again"

# A number that begins a word, as in `1,234`, `1.23M`, `-0.5` and `3 min`, or a dash where there is none. Numbers within names
# and in code are part of the words.
_FIGURE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)|(?<![\w/.:@+-])[+-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?|—")


def wrong_figures(lines: list[Line], facts: dict[str, Any]) -> Iterator[Fault]:
    """Where the body of a card says another figure than one that is rendered from the facts.

    The evaluation table must be there, with its rows and columns. Elsewhere a line is held against the one that has the same
    words; what somebody has put in other words, or left out, is theirs.

    Args:
        lines: The body of the card.
        facts: The contents of run.json.
    """
    rendered = render_card(facts, [])
    expected = body_lines(rendered, split_header(rendered)[1])
    yield from _evaluation_faults(lines, expected)
    by_words: dict[tuple[str, str], list[str]] = {}
    for line in _said(expected):
        by_words.setdefault((line.section, _words(line.text)), []).append(line.text)
    for line in _said(lines):
        wanted = by_words.get((line.section, _words(line.text)))
        if wanted and line.text not in wanted:
            right = min(
                wanted, key=lambda one: sum(a != b for a, b in zip(_figures(one), _figures(line.text), strict=True))
            )
            pairs = zip(_figures(line.text), _figures(right), strict=True)
            told = ", ".join(f"{said}, but run.json says {fact}" for said, fact in pairs if said != fact)
            yield line.number, f"{line.section or 'the beginning'}: {told}", _ONLY_MEASURED


def _said(lines: list[Line]) -> list[Line]:
    """Lines with figures, but for those of the evaluation table, of code, and of headings."""
    return [
        line
        for line in lines
        if not (line.in_code or line.level or (line.section == EVALUATION_HEADING and line.text.startswith("|")))
        and _figures(line.text)
    ]


def _figures(text: str) -> list[str]:
    return [match.group() for match in _FIGURE.finditer(text) if match.group(1) is None]


def _words(text: str) -> str:
    """The text with a mark in the place of each figure."""
    return _FIGURE.sub(lambda match: "\0" if match.group(1) is None else match.group(), text)


def _evaluation_faults(lines: list[Line], rendered: list[Line]) -> Iterator[Fault]:
    """Compares the evaluation table cell by cell with the one that the facts give."""
    expected, _ = section_table(rendered, EVALUATION_HEADING)
    found, line = section_table(lines, EVALUATION_HEADING)
    if not expected and not found:
        return
    heading = next((entry.number for entry in lines if entry.level == 2 and entry.title == EVALUATION_HEADING), 1)
    if not found:
        yield heading, "the evaluation table is missing, though run.json holds evaluations", _AGAIN
    elif not expected:
        yield line, "the card shows an evaluation table, but run.json holds no evaluations", "take it out"
    elif len(found) != len(expected) or found[0] != expected[0]:
        yield line, "the evaluation table has other rows or columns than run.json", _AGAIN
    else:
        for place, (row, wanted) in enumerate(zip(found[1:], expected[1:], strict=True), start=2):
            for column, cell, right in zip(expected[0], row, wanted, strict=False):
                if cell != right:
                    message = (
                        f"evaluation table, {' '.join(wanted[:2])}, column {column}: {cell}, but run.json says {right}"
                    )
                    yield line + place, message, _ONLY_MEASURED


def wrong_results(header: str, facts: dict[str, Any]) -> Iterator[Fault]:
    """Where `model-index` in the header of a card says other values than the facts.

    Args:
        header: The YAML, without the lines around it.
        facts: The contents of run.json.
    """
    try:
        stated = (yaml.safe_load(header) or {}).get("model-index")
    except (yaml.YAMLError, AttributeError):
        return
    wanted = dict(_values(model_index(facts)))
    line = header_line(header, "model-index")
    for key, value in _values(stated):
        if wanted.get(key) != value:
            message = f"model-index: {' '.join(key)} is {value}, but run.json says {wanted.get(key, 'nothing of it')}"
            yield line, message, _ONLY_MEASURED


def _values(index: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    for model in as_list(index):
        for result in model.get("results", []) if isinstance(model, dict) else []:
            dataset = result.get("dataset", {}).get("name", "")
            for metric in result.get("metrics", []):
                yield (str(dataset), str(metric.get("type"))), metric.get("value")
