"""The catalogue of sources as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hfrecipes.recipe.catalogue import CatalogueEntry

if TYPE_CHECKING:
    from rich.table import Table

_COUNTS = ((10**12, "T"), (10**9, "B"), (10**6, "M"))
_BYTES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"))
_LANGUAGES = 4


def catalogue_table(entries: Mapping[str, CatalogueEntry]) -> Table:
    """Name, category, licence, languages and size of sources, by category in the order they come.

    Args:
        entries: Sources by their names, as `load_catalogue()` gives them.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("name", "category", "licence", "languages"):
        table.add_column(title, no_wrap=title == "name")
    table.add_column("size as published")
    before = None
    for name, entry in entries.items():
        if before not in (None, entry.category):
            table.add_section()
        before = entry.category
        category = f"{entry.category}: {entry.domain}" if entry.domain else entry.category
        table.add_row(name, category, _license(entry), _languages(entry), size_of(entry))
    return table


def size_of(entry: CatalogueEntry) -> str:
    """`58.6 B tokens, 412 GB, 38 M rows (2024-11)`: the figures there are, or what is known instead of them."""
    figures = [
        f"{_short(entry.tokens)} tokens" if entry.tokens else "",
        _short(entry.bytes, _BYTES) if entry.bytes else "",
        f"{_short(entry.rows)} rows" if entry.rows else "",
    ]
    known = ", ".join(filter(None, [*figures, entry.note]))
    return f"{known} ({entry.published})" if entry.published else known


def _short(count: int, units: tuple[tuple[int, str], ...] = _COUNTS) -> str:
    for size, unit in units:
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:,}"


def _license(entry: CatalogueEntry) -> str:
    notes = ", ".join(filter(None, [entry.license_note, "gated" if entry.gated else ""]))
    return f"{entry.license} ({notes})" if notes else entry.license


def _languages(entry: CatalogueEntry) -> str:
    more = len(entry.languages) - _LANGUAGES
    shown = ", ".join(entry.languages[:_LANGUAGES])
    return f"{shown} and {more} more" if more > 0 else shown
