"""The preview as one picture: how long rows are, how much of them carries loss, what cleaning left out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hfrecipes.plan.histogram import SourceLengths, bar_labels, count_bars, histogram_edges, summary
from hfrecipes.recipe.problem import Problem, RecipeError

ENDINGS = (".png", ".svg")

# Okabe and Ito's colours, which people who see few colours tell apart.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#E69F00", "#009E73", "#8a8a8a"
# Sources that are drawn; a picture of more is not read.
_MOST_SOURCES = 12
_MOST_BARS = 14
# The picture of shares is as high as so many bars.
_SHARES_BARS = 9
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8a8a8a")
_FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "PingFang SC", "Microsoft YaHei")


def draw_preview(
    file: Path,
    parts: Sequence[SourceLengths],
    limit: int | None = None,
    supervised: Mapping[str, tuple[int, int]] | None = None,
    dropped: Mapping[str, int] | None = None,
    title: str = "",
    mixture: Mapping[str, Any] | None = None,
) -> None:
    """Draws a picture; the same figures give the same bytes.

    Args:
        file: Where to; `.png` or `.svg`.
        parts: A sample of each source; those without rows are left out.
        limit: The longest row that is trained on whole.
        supervised: Kind -> tokens that carry loss, all tokens.
        dropped: Rule -> documents that cleaning left out.
        title: The recipe's name.
        mixture: `mixture_facts`: shares of sources over progress.

    Raises:
        RecipeError: the file's ending is another, or it cannot be written.
    """
    if file.suffix.lower() not in ENDINGS:
        raise RecipeError(
            Problem(str(file), f"a picture ends in {' or '.join(ENDINGS)}", f"say {file.with_suffix('.png')}")
        )
    parts = [part for part in parts if len(part.lengths)]
    panels = ((_draw_shares, mixture), (_draw_supervised, supervised), (_draw_dropped, dropped))
    beside = [(panel, values) for panel, values in panels if values]
    with _style(), warnings.catch_warnings():
        # Names in scripts of which no font is installed come out as boxes in a .png; an .svg leaves fonts to who looks at it.
        warnings.filterwarnings("ignore", message="Glyph")
        figure = _figure(parts, limit, beside, title)
        try:
            # Without a date and a random salt, equal figures are equal files.
            figure.savefig(
                file, dpi=150, metadata={"Date": None} if file.suffix.lower() == ".svg" else {"Software": None}
            )
        except OSError as error:
            message = f"the picture cannot be written: {error.strerror or error}"
            raise RecipeError(Problem(str(file), message, "name a file in a folder that exists")) from error


def _style() -> Any:
    import matplotlib
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return matplotlib.rc_context(
        {
            "font.family": [font for font in _FONTS if font in known] or ["sans-serif"],
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 9,
            "svg.hashsalt": "hfrecipes",
            "svg.fonttype": "none",
        }
    )


def _figure(parts: Sequence[SourceLengths], limit: int | None, beside: Sequence[tuple[Any, Any]], title: str) -> Any:
    from matplotlib.figure import Figure

    shown = sorted(sorted(parts, key=lambda part: -len(part.lengths))[:_MOST_SOURCES], key=parts.index)
    bars = [_SHARES_BARS if panel is _draw_shares else min(len(values), _MOST_BARS) for panel, values in beside]
    height = max(1.5 + 1.25 * len(shown), 1.5 + 0.28 * sum(bars) + 0.9 * len(beside), 2.6)
    figure = Figure(figsize=(11 if beside and shown else 7, height), layout="constrained")
    left, right = figure, figure
    if beside and shown:
        left, right = figure.subfigures(1, 2, width_ratios=(1.35, 1), wspace=0.06)
    if shown:
        _draw_lengths(left, shown, limit, len(parts) - len(shown))
    if beside:
        axes = right.subplots(len(beside), 1, squeeze=False, height_ratios=[rows + 1.5 for rows in bars])[:, 0]
        for axis, (panel, values) in zip(axes, beside, strict=True):
            panel(axis, values)
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _draw_lengths(figure: Any, parts: Sequence[SourceLengths], limit: int | None, left_out: int) -> None:
    edges = histogram_edges(parts, limit)
    places = range(len(edges) - 1)
    axes = figure.subplots(len(parts), 1, sharex=True, squeeze=False)[:, 0]
    for axis, part in zip(axes, parts, strict=True):
        shares = count_bars(part, edges) * 100
        beyond = [limit is not None and edge > limit for edge in edges[:-1]]
        axis.bar(places, shares, width=0.92, color=[_ORANGE if over else _BLUE for over in beyond])
        name, _, figures = summary(part, limit).rpartition(": ")
        axis.set_title(f"{_shorten(name, 60)}\n{figures}", linespacing=1.3)
        axis.set_ylabel("% of rows")
        if any(beyond):
            axis.axvline(beyond.index(True) - 0.5, color=_GREY, linestyle="--", linewidth=1)
    axes[-1].set_xticks(list(places), bar_labels(edges), rotation=40, ha="right", rotation_mode="anchor")
    note = f"tokens in a row; orange: beyond max_length {limit:,}" if limit is not None else "tokens in a row"
    axes[-1].set_xlabel(note + (f"; {left_out} smaller sources are not shown" if left_out else ""))


def _draw_shares(axis: Any, mixture: Mapping[str, Any]) -> None:
    from matplotlib.patches import Patch

    places, shares = [100 * place for place in mixture["progress"]], mixture["shares"]
    # To both edges: the first and last figures are those of the middles of their blocks.
    places = [0.0, *places, 100.0]
    layers = [[100 * share for share in (values[0], *values, values[-1])] for values in shares.values()]
    # More sources than colours are told apart by hatching.
    styles = [
        {"facecolor": _COLOURS[number % len(_COLOURS)], "hatch": "/" * (number // len(_COLOURS)), "edgecolor": "white"}
        for number in range(len(layers))
    ]
    floor = [0.0] * len(places)
    for layer, style in zip(layers, styles, strict=True):
        top = [low + height for low, height in zip(floor, layer, strict=True)]
        axis.fill_between(places, floor, top, linewidth=0.4, **style)
        floor = top
    names = [Patch(**style) for style in styles]
    labels = [_shorten(name, 18) for name in shares]
    # The topmost layer first, as it is seen.
    axis.legend(names[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    axis.set_xlim(0, 100)
    axis.set_ylim(0, 100)
    axis.set_xlabel("% of the training")
    axis.set_title("Shares of the tokens by source (%)")


def _draw_supervised(axis: Any, supervised: Mapping[str, tuple[int, int]]) -> None:
    kinds = sorted(supervised.items(), key=lambda item: -item[1][1])[:_MOST_BARS]
    shares = [100 * carrying / max(tokens, 1) for _, (carrying, tokens) in kinds]
    axis.barh(range(len(kinds)), [100] * len(kinds), color="#e8e8e8", height=0.7)
    axis.barh(range(len(kinds)), shares, color=_GREEN, height=0.7)
    for place, (share, (_, (_, tokens))) in enumerate(zip(shares, kinds, strict=True)):
        axis.text(101.5, place, f"{share:.1f}% of {tokens:,}", va="center")
    axis.set_xlim(0, 150)
    axis.set_xticks([0, 50, 100])
    axis.spines.bottom.set_bounds(0, 100)
    _name_rows(axis, [kind for kind, _ in kinds])
    axis.set_title("Tokens that carry loss, by kind (%)")


def _draw_dropped(axis: Any, dropped: Mapping[str, int]) -> None:
    rules = sorted(dropped.items(), key=lambda item: -item[1])[:_MOST_BARS]
    counts = [count for _, count in rules]
    axis.barh(range(len(rules)), counts, color=_ORANGE, height=0.7)
    most = max([*counts, 1])
    for place, count in enumerate(counts):
        axis.text(count + most * 0.015, place, f"{count:,}", va="center")
    axis.set_xlim(0, most * 1.2)
    axis.locator_params(axis="x", nbins=4, integer=True)
    _name_rows(axis, [rule for rule, _ in rules])
    axis.set_title("Documents that cleaning left out, by rule")


def _name_rows(axis: Any, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), [_shorten(name, 28) for name in names])
    axis.invert_yaxis()
    axis.tick_params(axis="y", length=0)


def _shorten(name: str, length: int) -> str:
    """Long names keep both ends; a dollar sign is no formula."""
    half = length // 2
    return (name if len(name) <= length else f"{name[:half]}…{name[-half + 1 :]}").replace("$", r"\$")
