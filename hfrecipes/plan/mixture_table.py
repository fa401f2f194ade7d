"""A mixture as a table for the terminal: the share of each source as the training goes on, and how often its rows are seen."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hfrecipes.data.mixture.schedule import MixtureSchedule
from hfrecipes.plan.units import count

# Parts of a training at whose beginnings, and at the end, shares are shown.
_QUARTERS = 4


def print_mixture(console: Console, schedule: MixtureSchedule, *, estimated: bool) -> None:
    """Prints the sources of a mixture.

    Args:
        console: Where to.
        schedule: Of the mixture.
        estimated: Whether the sizes of its sources rest on a sample of rows.
    """
    shares = schedule.token_shares()
    places = np.linspace(0, len(shares) - 1, _QUARTERS + 1).round().astype(int)
    steady = bool(np.ptp(shares, axis=0).max() < 1e-9)
    heads = ["share"] if steady else [f"{place / _QUARTERS:.0%}" for place in range(_QUARTERS + 1)]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("source", overflow="fold", min_width=10)
    for head in (*heads, "read", "of", "epochs", "again"):
        table.add_column(head, justify="right", no_wrap=True)
    epochs, repeated = schedule.epochs(), schedule.repeated_tokens()
    for number, (name, size) in enumerate(zip(schedule.names, schedule.sizes, strict=True)):
        shown = shares[places[: len(heads)], number]
        read = schedule.trained_tokens[number]
        figures = [count(read), count(size.tokens), f"{epochs[name]:.3g}", count(repeated[name])]
        table.add_row(escape(name), *(f"{share:.1%}" for share in shown), *figures)
    about = " (≈ by a sample of rows)" if estimated else ""
    over = "" if steady else " as the training goes on"
    title = f"Shares of the tokens{over}; tokens read, of how many, how often, and how many of them again{about}"
    console.print(f"\n{title}", highlight=False)
    console.print(table, highlight=False)
