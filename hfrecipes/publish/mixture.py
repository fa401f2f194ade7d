"""What a run read of each source of its mixture: a table for card and report, and the shares over time for the report."""

from __future__ import annotations

import re
from typing import Any

from hfrecipes.publish import curves
from hfrecipes.publish.figures import DASH, dig, is_number, number, share, short
from hfrecipes.publish.svg import Series
from hfrecipes.publish.tables import Rows

# Places of the columns of figures.
MIXTURE_FIGURES = (1, 2, 3, 4, 5, 6)

_HEADING = ["Source", "Share of tokens, first", "Last", "Tokens read", "Of", "Epochs", "Read again"]
_READ = re.compile(r"mixture/(.+)")


def mixture_table(facts: dict[str, Any]) -> Rows:
    """Heading, and a row for each source, as the run planned them; empty where nothing was mixed.

    Rows are read exactly as planned, so this is what was read, the tokens by the mean row of each source.
    """
    sources = dig(facts, "plan.mixture.sources") or {}
    rows = [_row(name, source, _shares(facts, name)) for name, source in sources.items()]
    return [_HEADING, *rows] if rows else []


def _row(name: str, source: dict[str, Any], shares: list[Any]) -> list[str]:
    first, last = (shares[0], shares[-1]) if shares else (None, None)
    tokens = [short(source.get(key)) for key in ("trained_tokens", "tokens")]
    again = source.get("repeated_tokens")
    epochs = source.get("epochs")
    return [
        name,
        share(first),
        share(last),
        *tokens,
        number(epochs, 2) if is_number(epochs) else DASH,
        short(again) if is_number(again) else DASH,
    ]


def _shares(facts: dict[str, Any], name: str) -> list[Any]:
    # Names may hold a dot in the facts of others.
    return (dig(facts, "plan.mixture.shares") or {}).get(name) or []


def share_series(log: curves.Log) -> list[Series]:
    """The share of the tokens of each source: as read, and dashed as planned."""
    names = dict.fromkeys(found[1] for line in log for key in line if (found := _READ.fullmatch(key)))
    return [
        Series(f"{name}, planned" if planned else name, curves.curve(log, f"{key}/{name}"), colour, dashed=planned)
        for colour, name in enumerate(names)
        for key, planned in (("mixture", False), ("mixture_planned", True))
    ]
