"""Cells that say when: ISO dates, epoch numbers, and what Parquet holds."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR, _MONTH = re.compile(r"\d{4}"), re.compile(r"\d{4}-\d{2}")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
# Epochs above these count milliseconds, microseconds and nanoseconds: in seconds they would be beyond the year 5000.
_UNITS = ((1e17, 1e-3), (1e14, 1.0), (1e11, 1e3))


def microseconds(value: Any) -> int:
    """Microseconds since 1970 of a cell. A time without a zone is taken as UTC, a date as its midnight.

    Args:
        value: ISO 8601 (`2024`, `2024-03`, `2024-03-05`, `20240305`, `2024-03-05T10:00:00+01:00`), seconds, milliseconds,
            microseconds or nanoseconds since 1970 as a number or its digits, or a date or datetime.

    Raises:
        ValueError: it is none of them.
        OverflowError: it is beyond the 290,000 years that 64 bits of microseconds reach.
    """
    if isinstance(value, str):
        return _of_text(value.strip())
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (aware - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, date):
        return microseconds(datetime(value.year, value.month, value.day))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    return _of_number(value)


def _of_text(text: str) -> int:
    if _YEAR.fullmatch(text):
        return microseconds(date(int(text), 1, 1))
    if _MONTH.fullmatch(text):
        return microseconds(date.fromisoformat(f"{text}-01"))
    if _NUMBER.fullmatch(text) and not _is_basic_date(text):
        return _of_number(float(text) if "." in text else int(text))
    return microseconds(datetime.fromisoformat(text))


def _is_basic_date(text: str) -> bool:
    """Whether eight digits are a date, as in 20240305."""
    return len(text) == 8 and text[:2] in ("19", "20") and text[4:6] <= "12" and text[6:] <= "31"


def _of_number(number: float) -> int:
    scale = next((scale for least, scale in _UNITS if abs(number) >= least), 1e6)
    moment = number * int(scale) if isinstance(number, int) and scale >= 1 else round(number * scale)
    if abs(moment) >= 2**63:
        raise OverflowError(number)
    return moment
