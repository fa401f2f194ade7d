"""Needles found by depth and length: as rows of text for the card, and as heat maps for the report."""

from __future__ import annotations

from html import escape
from typing import Any

from hfrecipes.publish.figures import DASH, count, is_number, number
from hfrecipes.publish.tables import Rows

_CELL_WIDTH, _CELL_HEIGHT, _LEFT, _TOP = 92, 34, 62, 26

Cell = dict[str, Any]
Grid = dict[tuple[float, int], Cell]


def needle_rows(facts: dict[str, Any]) -> Rows:
    """Heading, and a row for each language and depth with what was found at each length; empty without needles."""
    grids = needle_grids(facts)
    lengths = sorted({length for grid in grids.values() for _, length in grid})
    if not lengths:
        return []
    rows = [
        [language, f"{depth:g}", *(_found(grid.get((depth, length))) for length in lengths)]
        for language, grid in grids.items()
        for depth in _depths(grid)
    ]
    return [["Language", "Depth", *(f"{count(length)} tokens" for length in lengths)], *rows]


def needle_maps(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Language and heat map (inline SVG) of each grid: the darker a cell, the more was found."""
    return [(language, _map(language, grid)) for language, grid in needle_grids(facts).items()]


def needle_grids(facts: dict[str, Any]) -> dict[str, Grid]:
    """The cells by language, then by depth and length; those that are not whole are left out."""
    grids: dict[str, Grid] = {}
    for cell in facts.get("needles") or []:
        figures = [cell.get(key) for key in ("depth", "length", "found", "n")]
        if all(is_number(figure) for figure in figures) and cell["n"] > 0:
            grids.setdefault(str(cell.get("language") or DASH), {})[cell["depth"], cell["length"]] = cell
    return grids


def _depths(grid: Grid) -> list[float]:
    return sorted({depth for depth, _ in grid})


def _found(cell: Cell | None) -> str:
    return DASH if cell is None else f"{count(cell['found'])} of {count(cell['n'])}"


def _map(language: str, grid: Grid) -> str:
    depths, lengths = _depths(grid), sorted({length for _, length in grid})
    width, height = _LEFT + _CELL_WIDTH * len(lengths), _TOP + _CELL_HEIGHT * len(depths)
    title = f"needles found ({language}) by depth, down, and length, across"
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" style="max-width:{width}px">',
        f'<text class="axis" x="{_LEFT - 8}" y="16" text-anchor="end">depth</text>',
    ]
    for column, length in enumerate(lengths):
        x = _LEFT + _CELL_WIDTH * (column + 0.5)
        parts.append(f'<text class="axis" x="{x}" y="16" text-anchor="middle">{count(length)}</text>')
    for row, depth in enumerate(depths):
        y = _TOP + _CELL_HEIGHT * row
        label = f'<text class="axis" x="{_LEFT - 8}" y="{y + _CELL_HEIGHT / 2 + 4}" text-anchor="end">{depth:g}</text>'
        parts.append(label)
        parts += [
            _square(grid[depth, length], _LEFT + _CELL_WIDTH * column, y)
            for column, length in enumerate(lengths)
            if (depth, length) in grid
        ]
    return "".join([*parts, "</svg>"])


def _square(cell: Cell, x: float, y: float) -> str:
    share = min(max(cell["found"] / cell["n"], 0), 1)
    chance = cell.get("log_probability")
    remark = f", log-probability {number(chance)}" if is_number(chance) else ""
    box = f'x="{x + 1}" y="{y + 1}" width="{_CELL_WIDTH - 2}" height="{_CELL_HEIGHT - 2}" rx="4"'
    return (
        f'<rect style="fill:var(--c0)" opacity="{0.06 + 0.5 * share:.2f}" {box}>'
        f"<title>{escape(_found(cell) + remark)}</title></rect>"
        f'<text class="axis" style="fill:var(--ink)" x="{x + _CELL_WIDTH / 2}" y="{y + _CELL_HEIGHT / 2 + 4}" '
        f'text-anchor="middle">{_found(cell)}</text>'
    )
