"""Renders the shipped Jinja templates of `model_cards/`."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hfrecipes.recipe.shipped import shipped_folder


def render_template(name: str, /, **values: Any) -> str:
    """A template filled in; a name that the template uses and nobody gave is an error, never an empty place."""
    text = _environment().get_template(name).render(**values)
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
    environment.filters["cell"] = markdown_cell
    environment.filters["row"] = markdown_row
    environment.filters["inline"] = inline_text
    return environment


def inline_text(text: object) -> str:
    """Text on one line of Markdown: no line breaks, and nothing in it that reads as an HTML tag."""
    return re.sub(r"\s+", " ", str(text)).replace("<", "&lt;").strip()


def markdown_cell(text: object) -> str:
    """Text inside a table cell: a pipe would end the cell."""
    return inline_text(text).replace("|", "\\|")


def markdown_row(cells: list[str]) -> str:
    """Cells as one line of a Markdown table."""
    return f"| {' | '.join(markdown_cell(cell) for cell in cells)} |"
