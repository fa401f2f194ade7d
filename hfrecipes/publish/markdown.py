"""The little of Markdown that checking a card takes: headings, code, tables, each with its line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the body, with what surrounds it."""

    number: int
    text: str
    in_code: bool
    section: str

    @property
    def level(self) -> int:
        """Depth of the heading on this line; 0 for any other line."""
        match = None if self.in_code else _HEADING.match(self.text)
        return len(match.group(1)) if match else 0

    @property
    def title(self) -> str:
        return self.text.lstrip("#").strip() if self.level else ""

    @property
    def prose(self) -> str:
        """The line without code spans; nothing inside of a code block."""
        return "" if self.in_code else re.sub(r"(?<![`\\])(`+)(?!`).*?(?<!`)\1(?!`)", "", self.text)


def split_header(text: str) -> tuple[str, int]:
    """The YAML between the first two `---` lines and the number of the first line after it; ("", 1) without one."""
    lines = text.splitlines()
    if not lines or lines[0].rstrip() != "---":
        return "", 1
    for place, line in enumerate(lines[1:], start=1):
        # A line of a value may be the same, indented.
        if line.rstrip() == "---":
            return "\n".join(lines[1:place]), place + 2
    return "", 1


def header_line(header: str, key: str) -> int:
    """Line of a key of the header in the file, on whose second line it begins; 1 where it has no such key."""
    for number, line in enumerate(header.splitlines(), start=2):
        if line.startswith(f"{key}:"):
            return number
    return 1


def as_list(value: Any) -> list[Any]:
    """What a key of a header holds, one thing or several."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def body_lines(text: str, first: int) -> list[Line]:
    """The lines from number `first` on; `section` is the nearest `##` heading above."""
    found, fence, section = [], None, ""
    for number, line in enumerate(text.splitlines()[first - 1 :], start=first):
        match = _FENCE.match(line)
        closes = fence is not None and match and match.group(1).startswith(fence) and not line.strip().strip(fence[0])
        inside = fence is not None or match is not None
        entry = Line(number, line, inside, section)
        if entry.level == 2:
            section = entry.title
            entry = Line(number, line, inside, section)
        found.append(entry)
        if fence is None and match:
            fence = match.group(1)
        elif closes:
            fence = None
    return found


def section_table(lines: list[Line], section: str) -> tuple[list[list[str]], int]:
    """Cells of the first table in a section, without its ruler, and the number of its first line (0 without one)."""
    rows, first = [], 0
    for line in lines:
        if line.section != section or line.in_code:
            continue
        if line.text.startswith("|"):
            first = first or line.number
            cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.text.strip()[1:-1])]
            if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                rows.append(cells)
        elif rows:
            break
    return rows, first
