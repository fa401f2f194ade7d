"""Checks a model card without the Hub: header, sections, placeholders, leaks, and every figure against the facts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any

import yaml

from hfrecipes.publish.agreement import wrong_figures, wrong_results
from hfrecipes.publish.answers import is_answers
from hfrecipes.publish.card import EVALUATION_HEADING
from hfrecipes.publish.markdown import Line, as_list, body_lines, header_line, split_header
from hfrecipes.publish.naming import LOCAL_PATH, is_repo_id
from hfrecipes.publish.placeholders import placeholders
from hfrecipes.publish.secrets import find_secrets
from hfrecipes.recipe.licenses import LICENSES
from hfrecipes.recipe.problem import Problem

REQUIRED_SECTIONS = [
    "Intended use",
    "Out-of-scope use",
    "How to use",
    EVALUATION_HEADING,
    "Limitations",
    "How to reproduce",
    "Citation",
]

# The header keys that the Hub reads (huggingface.co/docs/hub/model-cards).
_KEY_NAMES = (
    "license license_name license_link language library_name pipeline_tag base_model base_model_relation datasets "
    "tags metrics model-index new_version thumbnail widget inference co2_eq_emissions extra_gated_prompt "
    "extra_gated_fields extra_gated_heading extra_gated_description extra_gated_button_content"
)
_KEYS = frozenset(_KEY_NAMES.split())
# What it reads of a data set's card besides (huggingface.co/docs/hub/datasets-cards).
_DATASET_KEY_NAMES = (
    "annotations_creators configs dataset_info language_creators multilinguality pretty_name size_categories "
    "source_datasets task_categories task_ids viewer"
)
_DATASET_KEYS = _KEYS | frozenset(_DATASET_KEY_NAMES.split())
_RELATIONS = ("adapter", "finetune", "merge", "quantized")
_LIBRARIES = ("transformers", "peft", "hfrecipes")

# What a page may be made to run or to load by, where it is not cleaned before it is shown.
_ACTIVE_HTML = re.compile(
    r"<\s*(?:script|iframe|object|embed)\b|<[^>]*\son\w+\s*=|(?:\](?:\(|:)\s*<?|<|=\s*[\"']?)\s*javascript:",
    re.IGNORECASE,
)

# Completions may quote any path that the training text holds; they say nothing about this machine.
_QUOTING_SECTION = "Samples"


def lint_card(text: str, facts: dict[str, Any] | None = None) -> list[Problem]:
    """Every fault of a card, in order of lines.

    Args:
        text: The README.md, header included.
        facts: The contents of run.json. With them, no figure of the card may differ from what they say.

    Returns:
        Problems whose `where` is `README.md:<line>`; those of severity `warning` do not stop a publication.
    """
    header, first = split_header(text)
    lines = body_lines(text, first)
    found = [
        *_header_problems(header, _DATASET_KEYS if facts is not None and is_answers(facts) else _KEYS),
        *_section_problems(lines),
        *_placeholder_problems(lines, facts),
        *_html_problems(lines),
        *_leak_problems(text, lines),
    ]
    if facts is not None:
        found += [_problem(*fault) for fault in [*wrong_figures(lines, facts), *wrong_results(header, facts)]]
    return sorted(found, key=lambda problem: int(problem.where.rpartition(":")[2]))


def _problem(line: int, message: str, fix: str = "", severity: str = "error") -> Problem:
    return Problem(f"README.md:{line}", message, fix, severity)


def _header_problems(header: str, known: frozenset[str]) -> Iterator[Problem]:
    if not header:
        yield _problem(1, "the card has no YAML header", "begin it with a block between two `---` lines")
        return
    try:
        values = yaml.safe_load(header)
    except yaml.YAMLError as error:
        line = error.problem_mark.line + 2 if getattr(error, "problem_mark", None) else 1
        yield _problem(
            line, f"the header is not valid YAML: {getattr(error, 'problem', None) or error}", "mend the header"
        )
        return
    if not isinstance(values, dict):
        yield _problem(1, "the header is not a mapping", "write `key: value` lines between the two `---`")
        return
    yield from _key_problems(header, values, known)
    yield from _value_problems(header, values)


def _key_problems(header: str, values: dict[str, Any], known: frozenset[str]) -> Iterator[Problem]:
    top = re.findall(r"^([\w-]+):", header, re.MULTILINE)
    for key in sorted({key for key in top if top.count(key) > 1}):
        yield _problem(header_line(header, key), f"header key {key} is given twice", "keep one of them")
    for key, value in values.items():
        line = header_line(header, str(key))
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.75)
            fix = f"did you mean {near[0]}?" if near else "the Hub ignores it"
            yield _problem(line, f"header key {key} is not a known key", fix, "error" if near else "warning")
        elif value in (None, "", [], {}):
            yield _problem(line, f"header key {key} is empty", "give it a value or take it out")
    for key, fix in (
        ("license", "set publish.license in the recipe"),
        ("language", "set publish.language in the recipe"),
    ):
        if key not in values:
            yield _problem(1, f"the header has no {key}", fix, "warning")


def _value_problems(header: str, values: dict[str, Any]) -> Iterator[Problem]:
    license, relation, library = values.get("license"), values.get("base_model_relation"), values.get("library_name")
    if license and license not in LICENSES:
        near = difflib.get_close_matches(str(license).lower(), LICENSES, n=1)
        fix = f"did you mean {near[0]}?" if near else "use `license: other` and `license_name:`"
        yield _problem(
            header_line(header, "license"), f"license {license} is not an identifier that the Hub knows", fix
        )
    if license == "other" and not values.get("license_name"):
        yield _problem(header_line(header, "license"), "license: other has no license_name", "add license_name")
    if relation and relation not in _RELATIONS:
        fix = f"use one of {', '.join(_RELATIONS)}"
        yield _problem(header_line(header, "base_model_relation"), f"base_model_relation {relation} is unknown", fix)
    if library and library not in _LIBRARIES:
        fix = f"use one of {', '.join(_LIBRARIES)}"
        yield _problem(
            header_line(header, "library_name"), f"library_name {library} cannot load what a run leaves", fix
        )
    for key in ("base_model", "datasets"):
        for name in as_list(values.get(key)):
            if not is_repo_id(name):
                yield _problem(
                    header_line(header, key), f"{key} {name} is not a Hub id", "name a repository: owner/name"
                )
    for language in as_list(values.get("language")):
        if not isinstance(language, str) or not re.fullmatch(
            r"[a-z]{2,3}(-[A-Za-z]{2,4})?|code|multilingual", language
        ):
            # YAML reads a bare `no` as false, and no error follows.
            fix = 'use ISO 639 codes, in quotes where YAML reads them otherwise: "no"'
            yield _problem(header_line(header, "language"), f"language {language} is not a language code", fix)


def _section_problems(lines: list[Line]) -> Iterator[Problem]:
    headings = [line for line in lines if line.level]
    titles = {line.title for line in headings if line.level == 2}
    for title in REQUIRED_SECTIONS:
        if title not in titles:
            yield _problem(1, f"the card has no section `## {title}`", "add it, or render the card again")
    if not any(line.level == 1 for line in headings):
        yield _problem(1, "the card has no title", "add a `# name` line")
    for place, heading in enumerate(headings):
        end = headings[place + 1] if place + 1 < len(headings) else None
        between = [
            line for line in lines if heading.number < line.number < (end.number if end else lines[-1].number + 1)
        ]
        deeper = end is not None and end.level > heading.level
        if not deeper and not any(line.text.strip() for line in between):
            yield _problem(heading.number, f"section {heading.title} is empty", "fill it or take the heading out")


def _placeholder_problems(lines: list[Line], facts: dict[str, Any] | None) -> Iterator[Problem]:
    for line, left in placeholders(lines, facts):
        yield _problem(line, f"`{left}` stands where a value should", "give the value or cut the sentence")


def _html_problems(lines: list[Line]) -> Iterator[Problem]:
    for line in lines:
        if match := _ACTIVE_HTML.search(line.prose):
            what = " ".join(match.group().split())[:40]
            yield _problem(line.number, f"{what!r} can run code on the page that shows the card", "take it out")


def _leak_problems(text: str, lines: list[Line]) -> Iterator[Problem]:
    for number, kind in find_secrets(text.encode()):
        yield _problem(number, f"the card holds {kind}", "take it out, and revoke it: it may have been seen")
    quoted = {line.number for line in lines if line.section == _QUOTING_SECTION}
    for number, line in enumerate(text.splitlines(), start=1):
        for match in LOCAL_PATH.finditer(line):
            if number not in quoted:
                yield _problem(
                    number, f"{match.group()} is a path of one machine", "name the file, the run or the Hub id"
                )
