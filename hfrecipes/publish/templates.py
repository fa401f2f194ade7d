"""Renders the shipped Jinja templates of `model_cards/`."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hfrecipes.publish.escaping import code_span, fenced, inline_text, markdown_table
from hfrecipes.publish.markdown import body_lines
from hfrecipes.recipe.shipped import shipped_folder


def render_template(name: str, /, **values: Any) -> str:
    """A template filled in; a name that the template uses and nobody gave is an error, never an empty place."""
    text = _environment().get_template(name).render(**values)
    # Half of a character, which JSON can hold and a file cannot.
    text = text.encode("utf-8", errors="replace").decode("utf-8")
    return _without_gaps(text) if name.endswith(".md.jinja") else text


def _without_gaps(markdown: str) -> str:
    """The text with at most one empty line at a place, where what a template leaves out stood; code as it is."""
    kept: list[str] = []
    for line in body_lines(markdown, 1):
        if line.in_code or line.text or (kept and kept[-1]):
            kept.append(line.text)
    return "\n".join(kept).rstrip("\n") + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(shipped_folder("model_cards")),
        undefined=StrictUndefined,
        autoescape=lambda name: bool(name) and ".html" in name,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"table": markdown_table, "inline": inline_text, "code": code_span, "fenced": fenced}
    return environment
