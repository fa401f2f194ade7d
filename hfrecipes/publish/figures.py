"""How quantities are written: the same in the card, in the report and for the linter that compares them."""

from __future__ import annotations

import math
from typing import Any

DASH = "—"
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_SHORT = ((1e15, "Q"), (1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))


# No quantity of a run comes near; beyond it products and ratios leave the range of floats.
_LARGEST = 1e100


def is_number(value: object) -> bool:
    """A number that can be one of a run's, and not a truth value."""
    # nan compares as false; integers of any length compare.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def dig(facts: Any, path: str) -> Any:
    """Dotted access into nested dicts; None where any part is missing."""
    for key in path.split("."):
        facts = facts.get(key) if isinstance(facts, dict) else None
    return facts


def count(value: Any) -> str:
    """1234567 -> `1,234,567`."""
    return f"{round(value):,}" if is_number(value) else DASH


def short(value: Any) -> str:
    """1234567 -> `1.23M`."""
    if not is_number(value):
        return DASH
    rounded = float(f"{value:.3g}")
    for unit, letter in _SHORT:
        if abs(rounded) >= unit:
            return f"{rounded / unit:.3g}{letter}"
    return f"{rounded:.3g}"


def size(value: Any) -> str:
    """Bytes in binary units: 1536 -> `1.5 KiB`."""
    if not is_number(value):
        return DASH
    power = 0
    while value >= 1023.95 and power < len(_SIZES) - 1:
        value, power = value / 1024, power + 1
    return f"{value:.0f} B" if power == 0 else f"{value:.1f} {_SIZES[power]}"


def duration(seconds: Any) -> str:
    """Seconds in the two largest units that matter: 3725 -> `1 h 02 min`."""
    if not is_number(seconds):
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def scientific(value: Any) -> str:
    """2.345e15 -> `2.35e15`."""
    if not is_number(value):
        return DASH
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def share(value: Any) -> str:
    """A part of a whole: 0.1234 -> `12.3%`; what is not all, or not nothing, is never written as if it were."""
    if not is_number(value):
        return DASH
    text = f"{value:.1%}"
    if text in ("0.0%", "-0.0%"):
        return "0%" if value == 0 else "<0.1%"
    if text == "100.0%":
        return "100%" if value == 1 else ">99.9%" if value < 1 else text
    return text


def decimals(value: float) -> int:
    """Digits after the point that leave four significant ones; at most 6."""
    if value == 0:
        return 2
    return max(0, min(6, 3 - math.floor(math.log10(abs(value)))))


def number(value: Any, digits: int | None = None) -> str:
    """A measured value with four significant digits, or with as many after the point as its neighbours have."""
    if not is_number(value):
        return DASH
    if digits is None:
        digits = 0 if isinstance(value, int) else decimals(value)
    return f"{value:,.{digits}f}"


def setting(value: Any) -> str:
    """A recipe's value the way YAML would say it: 0.0002 -> `0.0002`, 1e-5 -> `1e-05`, True -> `true`."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ", ".join(setting(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {setting(entry)}" for key, entry in value.items())
    return (
        f"{value:g}"
        if isinstance(value, float) and math.isfinite(value) and float(f"{value:g}") == value
        else str(value)
    )
