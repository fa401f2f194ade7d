"""Charts as inline SVG: no script, no request, colours from the page's own variables."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from hfrecipes.publish.evaluations import Measurement
from hfrecipes.publish.figures import short

Point = tuple[float, float]

_WIDTH, _HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 34
_MOST_POINTS = 600
_FEW_POINTS = 40

_BAR_WIDTH, _BAR_HEIGHT, _BAR_AXIS_HEIGHT, _BAR_MARGIN = 480, 24, 16, 24

COLOURS = 8


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a chart. `colour` picks one of the page's `--c0` to `--c7`."""

    label: str
    points: list[Point]
    colour: int
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its interval, in a row of its own."""

    label: str
    measured: Measurement
    colour: int


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) that lie within [low, high], some `about` of them."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough * 0.999), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def tick_label(value: float, step: float) -> str:
    """A tick with as many digits as its distance to the next one needs."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return short(float(value))
    if abs(value) < 0.001:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    digits = max(0, -math.floor(math.log10(abs(step)) + 1e-9)) if step else 3
    return f"{value:.{digits}f}"


def line_chart(series: list[Series], title: str, x_label: str = "step") -> str:
    """One chart of all series over a common axis; empty where there is nothing to draw.

    Args:
        series: Lines, in drawing order. Those without points are left out.
        title: What a screen reader says for the picture.
        x_label: Name of the horizontal axis.
    """
    drawn = [one for one in series if one.points]
    if not drawn:
        return ""
    x = _Axis.around([p[0] for one in drawn for p in one.points], _LEFT, _WIDTH - _RIGHT, padding=0)
    y = _Axis.around([p[1] for one in drawn for p in one.points], _HEIGHT - _BOTTOM, _TOP, padding=0.06)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    parts += _grid(x, y)
    parts.append(
        f'<text class="axis" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>'
    )
    parts += [_line(one, x, y) for one in drawn]
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True, slots=True)
class _Axis:
    """Maps values between `low` and `high` onto pixels between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: list[float], start: float, end: float, padding: float) -> _Axis:
        low, high = min(values), max(values)
        # Differences in the sixth digit are no news, and would fill the chart.
        if high - low <= 1e-5 * max(abs(low), abs(high)):
            low, high = low - (abs(low) * 0.05 or 0.5), high + (abs(high) * 0.05 or 0.5)
        margin = (high - low) * padding
        return cls(low - margin, high + margin, start, end)

    def place(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, about: int) -> list[tuple[float, str]]:
        ticks = nice_ticks(self.low, self.high, about)
        step = ticks[1] - ticks[0] if len(ticks) > 1 else self.high - self.low
        return [(self.place(tick), tick_label(tick, step)) for tick in ticks]


def _grid(x: _Axis, y: _Axis) -> list[str]:
    parts = []
    for place, label in y.ticks(5):
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{place}" y2="{place}"/>')
        parts.append(f'<text class="axis" x="{_LEFT - 8}" y="{place + 4}" text-anchor="end">{label}</text>')
    # The last tick's label would run into the axis' name.
    for place, label in x.ticks(6):
        if place < _WIDTH - _RIGHT - 40:
            parts.append(f'<text class="axis" x="{place}" y="{_HEIGHT - 3}" text-anchor="middle">{label}</text>')
        parts.append(
            f'<line class="tick" x1="{place}" x2="{place}" y1="{_HEIGHT - _BOTTOM}" y2="{_HEIGHT - _BOTTOM + 5}"/>'
        )
    base = _HEIGHT - _BOTTOM
    return [*parts, f'<line class="tick" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>']


def _line(series: Series, x: _Axis, y: _Axis) -> str:
    points = thin_out(series.points)
    places = " ".join(f"{x.place(px)},{y.place(py)}" for px, py in points)
    dash = ' stroke-dasharray="6 4"' if series.dashed else ""
    drawn = f'<polyline class="line" style="stroke:var(--c{series.colour % COLOURS})"{dash} points="{places}"/>'
    marked = points if series.dashed and len(points) <= _FEW_POINTS else points[-1:]
    for px, py in marked:
        title = f"<title>{escape(series.label)}: {py:.4g} at {px:g}</title>"
        place = f'cx="{x.place(px)}" cy="{y.place(py)}"'
        drawn += f'<circle style="fill:var(--c{series.colour % COLOURS})" {place} r="3">{title}</circle>'
    return drawn


def thin_out(points: list[Point], most: int = _MOST_POINTS) -> list[Point]:
    """At most `most` points: of each stretch its lowest and highest, so that no spike is lost."""
    if len(points) <= most:
        return points
    stretch = math.ceil(2 * len(points) / most)
    kept: dict[Point, None] = {}
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        extremes = (min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1]))
        kept |= dict.fromkeys(sorted(extremes))
    return list(kept)


def interval_bars(bars: list[Bar]) -> tuple[list[str], str]:
    """A picture per bar, its interval as a band and its value as a dot, and one of the axis that all share.

    Names and figures stand beside them as text of the page, which stays readable on a narrow screen.
    """
    reach = [
        bound
        for bar in bars
        for bound in (bar.measured.value, bar.measured.low, bar.measured.high)
        if bound is not None
    ]
    axis = _Axis.around(reach, _BAR_MARGIN, _BAR_WIDTH - _BAR_MARGIN, padding=0.05)
    ticks = axis.ticks(4)
    grid = "".join(f'<line class="grid" x1="{place}" x2="{place}" y1="0" y2="{_BAR_HEIGHT}"/>' for place, _ in ticks)
    labels = "".join(
        f'<text class="axis" x="{place}" y="12" text-anchor="middle">{label}</text>' for place, label in ticks
    )
    pictures = [_bar_svg(_BAR_HEIGHT, bar.label, grid + _bar(bar, axis, _BAR_HEIGHT / 2)) for bar in bars]
    return pictures, _bar_svg(_BAR_AXIS_HEIGHT, "axis", labels)


def _bar_svg(height: int, title: str, content: str) -> str:
    return f'<svg viewBox="0 0 {_BAR_WIDTH} {height}" role="img" aria-label="{escape(title)}">{content}</svg>'


def _bar(bar: Bar, axis: _Axis, y: float) -> str:
    colour = f"var(--c{bar.colour % COLOURS})"
    drawn = ""
    if bar.measured.has_interval:
        left, right = axis.place(bar.measured.low), axis.place(bar.measured.high)
        width = max(2.0, round(right - left, 1))
        drawn = f'<rect style="fill:{colour}" opacity=".3" rx="4" x="{left}" y="{y - 6}" width="{width}" height="12"/>'
    return drawn + f'<circle style="fill:{colour}" cx="{axis.place(bar.measured.value)}" cy="{y}" r="4.5"/>'
