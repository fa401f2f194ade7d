"""Text of a run inside of Markdown: shown as it is, never read as markup (CommonMark 0.31, GitHub's tables)."""

from __future__ import annotations

import re

from hfrecipes.recipe.visible import visible

# Read as markup wherever it stands in a line: an escape, code, emphasis, a strike-through, a tag, an entity, and of links
# and images the characters in which brackets meet what belongs to them. Brackets alone are none, and intervals have them;
# nor is an underscore within a word.
_MARKUP = re.compile(r"\\(?=[!-/:-@\[-`{-~]|$)|[`*~<]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)|(?<=\])[(\[:]|!(?=\[)")
_ENTITIES = {"<": "&lt;", "&": "&amp;"}
# Makes a heading, a quotation, a list, a ruler or a table of a line that begins with it.
_BLOCK = re.compile(r"(?=[#>+=|:-])|\d{1,9}(?=[.)])")


class Bold(str):
    """A cell of a table that stands out."""

    __slots__ = ()


def one_line(text: object) -> str:
    """Text without line ends; what a terminal or an editor would obey is visible."""
    return visible(re.sub(r"\s+", " ", str(text)).strip())


def inline_text(text: object) -> str:
    """Text within a line of Markdown, or as all of one."""
    escaped = _escaped(text)
    block = _BLOCK.match(escaped)
    return f"{escaped[: block.end()]}\\{escaped[block.end() :]}" if block else escaped


def code_span(text: object) -> str:
    """Text as code within a line, between as many backticks as it takes; `(nothing)` where there is none."""
    line = one_line(text) or "(nothing)"
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def fenced(text: object, language: str = "text") -> str:
    """Text as a block of code, between fences that none of its lines can close."""
    lines = visible(str(text).replace("\r\n", "\n"))
    fence = "`" * max(3, _longest_run(lines) + 1)
    return f"{fence}{language}\n{lines}\n{fence}"


def markdown_cell(text: object) -> str:
    """Text inside a table cell: a pipe would end the cell."""
    cell = _escaped(text).replace("|", "\\|")
    return f"**{cell}**" if isinstance(text, Bold) else cell


def markdown_row(cells: list[str]) -> str:
    """Cells as one line of a Markdown table."""
    return f"| {' | '.join(markdown_cell(cell) for cell in cells)} |"


def markdown_table(rows: list[list[str]], right: tuple[int, ...] = ()) -> str:
    """Rows, the heading first, as a table; columns of figures, named by their place, are aligned to the right."""
    heading, *others = map(markdown_row, rows)
    ruler = "".join(" ---: |" if place in right else " --- |" for place in range(len(rows[0])))
    return "\n".join([heading, f"|{ruler}", *others])


def _escaped(text: object) -> str:
    return _MARKUP.sub(lambda match: _ENTITIES.get(match.group(), f"\\{match.group()}"), one_line(text))


def _longest_run(text: str) -> int:
    """Backticks that follow one another."""
    return max(map(len, re.findall("`+", text)), default=0)
