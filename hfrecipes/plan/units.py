"""Numbers of any size in the words of a plan."""

from __future__ import annotations

from decimal import Decimal

# From here on powers of ten say more than units; and integers can be too large for a float.
_POWERS = 10**18


def count(number: float) -> str:
    """Three digits and a unit: 812, 12.3K, 4.56M, 7.89B, 1.2T; 1.23e+18 beyond."""
    if number >= _POWERS:
        return f"{Decimal(number):.2e}"
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            value = number / size
            return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f}{unit}"
    return f"{number:.0f}"


def gib(size: float) -> str:
    """Bytes in GiB, or in MiB or KiB below a tenth of one; 1.23e+18 bytes from there on."""
    if size >= _POWERS:
        return f"{Decimal(size):.2e} bytes"
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit / 10:
            return f"{size / unit:,.1f} {name}" if size >= unit else f"{size / unit:.2f} {name}"
    return f"{size / 1024:.1f} KiB"


def duration(hours: float) -> str:
    """Seconds, minutes, hours or days, whichever reads best."""
    if hours < 2 / 60:
        return f"{hours * 3600:.0f} seconds"
    if hours < 2:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 72 else f"{hours:,.0f} hours ({hours / 24:.1f} days)"
