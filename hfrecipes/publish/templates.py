"""Renders the shipped Jinja templates of `model_cards/`."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hfrecipes.publish.escaping import code_span, fenced, inline_text, markdown_table
from hfrecipes.recipe.shipped import shipped_folder


def render_template(name: str, /, **values: Any) -> str:
    """A template filled in; a name that the template uses and nobody gave is an error, never an empty place."""
    text = _environment().get_template(name).render(**values)
    # Half of a character, which JSON can hold and a file cannot.
    text = text.encode("utf-8", errors="replace").decode("utf-8")
    return re.sub(r"\n{3,}", "\n\n", text) if name.endswith(".md.jinja") else text


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
