"""How far a run's recipe is from those of other runs, over seeds and rows: a table and sentences for card and report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hfrecipes.publish.escaping import code_span, inline_text
from hfrecipes.publish.evaluations import EvaluationRow
from hfrecipes.publish.figures import DASH, decimals, dig, is_number, number
from hfrecipes.publish.tables import Rows

# Places of the columns of figures.
COMPARISONS_FIGURES = (3, 4, 5, 6)
_COLUMNS = ["Data set", "Metric", "Against", "This recipe", "The other", "Difference", "Over these rows alone"]
# As many as a measured value has, and one more: differences are small beside it.
_MORE_DIGITS = 1


def comparisons_table(facts: dict[str, Any]) -> Rows:
    """Heading and a row for each figure and each other recipe: means with the values of all runs, and the difference."""
    rows = [_row(entry) for entry in _entries(facts)]
    return [_COLUMNS, *rows] if rows else []


def seeds_headlines(facts: dict[str, Any]) -> list[str]:
    """A line of Markdown for each figure that was compared over several seeds."""
    lines = []
    for entry in _entries(facts):
        if _bounds(entry, "over_seeds"):
            runs = len(entry["ours"]["values"])
            told = f"{_mean(entry, 'ours')} against {_mean(entry, 'theirs')} of {inline_text(entry['against'])}"
            where = f"{inline_text(_title(entry))} on {code_span(entry['dataset'])} over {runs} seeds"
            lines.append(f"{where}: {told}, a difference of **{_difference(entry)}**")
    return lines


def varies_over_seeds(facts: dict[str, Any]) -> bool:
    """Whether the facts say how figures vary between seeds."""
    return any(_bounds(entry, "over_seeds") for entry in _entries(facts))


def _entries(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Comparisons that are whole; facts that somebody has changed may hold others."""
    for entry in facts.get("comparisons") or []:
        named = {"against", "dataset", "metric"} <= entry.keys()
        if named and is_number(entry.get("difference")) and _values(entry, "ours") and _values(entry, "theirs"):
            yield entry


def _row(entry: dict[str, Any]) -> list[str]:
    rows = _bounds(entry, "over_rows")
    return [
        str(entry["dataset"]),
        _title(entry),
        str(entry["against"]),
        _side(entry, "ours"),
        _side(entry, "theirs"),
        _difference(entry),
        _brackets(rows, _digits(entry)) if rows else DASH,
    ]


def _title(entry: dict[str, Any]) -> str:
    unit, higher = str(entry.get("unit") or ""), bool(entry.get("higher_is_better"))
    return EvaluationRow(str(entry["dataset"]), str(entry["metric"]), unit, higher, {}).title


def _values(entry: dict[str, Any], side: str) -> list[float]:
    values = dig(entry, f"{side}.values")
    return values if isinstance(values, list) and all(map(is_number, values)) else []


def _side(entry: dict[str, Any], side: str) -> str:
    """`2.105 (2.148, 2.074, 2.093)`: the mean, and what each run came to."""
    values, digits = _values(entry, side), _digits(entry) - _MORE_DIGITS
    each = f" ({', '.join(number(value, digits) for value in values)})" if len(values) > 1 else ""
    return f"{_mean(entry, side)}{each}"


def _mean(entry: dict[str, Any], side: str) -> str:
    values = _values(entry, side)
    return number(sum(values) / len(values), _digits(entry) - _MORE_DIGITS)


def _difference(entry: dict[str, Any]) -> str:
    digits, seeds = _digits(entry), _bounds(entry, "over_seeds")
    value = f"{entry['difference']:+,.{digits}f}"
    return f"{value} {_brackets(seeds, digits)}" if seeds else value


def _brackets(bounds: tuple[float, float], digits: int) -> str:
    return f"[{bounds[0]:+,.{digits}f}, {bounds[1]:+,.{digits}f}]"


def _bounds(entry: dict[str, Any], name: str) -> tuple[float, float] | None:
    low, high = (dig(entry, f"{name}.{end}") for end in ("low", "high"))
    return (low, high) if is_number(low) and is_number(high) else None


def _digits(entry: dict[str, Any]) -> int:
    return decimals(float(entry["ours"]["values"][0])) + _MORE_DIGITS
