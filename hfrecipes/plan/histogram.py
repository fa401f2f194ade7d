"""How long the rows of each source are: counted once, shown in the terminal or drawn by `hfrecipes/plan/picture.py`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, log10
from typing import Any

import numpy as np

# Bars of a histogram; some more where a limit stands between two of them.
_BARS = 12
# From this ratio of the longest row to the shortest on, bars widen with the length.
_WIDE = 12
_BAR_WIDTH = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class SourceLengths:
    """Tokens of a sample of a source's rows, or documents.

    Args:
        source: `name/split`.
        lengths: `(rows,)` int64, what `max_length` cuts off included.
        supervised: Tokens in the sample that carry loss, and all tokens that are trained on.
    """

    source: str
    lengths: np.ndarray
    supervised: tuple[int, int]

    @classmethod
    def of_examples(cls, source: str, examples: Iterable[Any]) -> SourceLengths:
        """Of rows for fine-tuning (`EncodedExample`), or of preferences, whose longest sequence counts."""
        examples = list(examples)
        lengths = np.array([each.longest for each in examples], dtype=np.int64)
        supervised = sum(each.supervised_tokens for each in examples)
        return cls(source, lengths, (supervised, sum(len(each.input_ids) for each in examples)))

    @classmethod
    def of_documents(cls, source: str, documents: Iterable[Sequence[int]]) -> SourceLengths:
        """Of documents for pretraining, all of whose tokens carry loss."""
        lengths = np.array([len(ids) for ids in documents], dtype=np.int64)
        return cls(source, lengths, (int(lengths.sum()), int(lengths.sum())))

    def quantile(self, share: float) -> int:
        """A length that this share of the rows does not exceed, taken from the rows themselves."""
        return int(np.quantile(self.lengths, share, method="inverted_cdf"))

    def above(self, limit: int) -> float:
        """The share of the rows that are longer."""
        return float((self.lengths > limit).mean())


def histogram_edges(parts: Sequence[SourceLengths], limit: int | None = None) -> list[int]:
    """Ends of bars that suit all sources: round numbers, bar i holding the lengths from edge i to below edge i + 1.

    Where the longest row is much longer than the shortest, bars widen as lengths grow.

    Args:
        parts: What is shown together; at least one row.
        limit: A length that no bar stands across.
    """
    lengths = np.concatenate([part.lengths for part in parts])
    low, high = max(int(lengths.min()), 1), max(int(lengths.max()), 1)
    if high / low < _WIDE:
        step = _round_up((high - low + 1) / _BARS)
        edges = list(range(low // step * step, high + step + 1, step))
    else:
        steps = np.geomspace(low, high + 1, _BARS + 1)
        edges = [
            0 if low == 1 else _round(steps[0], down=True),
            *(_round(step) for step in steps[1:-1]),
            _round_up(high + 1),
        ]
    edges = sorted(set(edges))
    if limit is not None and edges[0] < limit + 1 <= high:
        # In the place of the nearest one, so that no bar is a sliver.
        nearest = min(edges[1:-1], key=lambda edge: abs(edge - limit - 1), default=None)
        edges = sorted({edge for edge in edges if edge != nearest} | {limit + 1})
    last = next(edge for edge in edges if edge > high)
    return [edge for edge in edges if edge <= last]


def bar_labels(edges: Sequence[int]) -> list[str]:
    """`64–127` for each bar, one number where it holds one length."""
    return [f"{low:,}–{high - 1:,}" if high - 1 > low else f"{low:,}" for low, high in pairwise(edges)]


def _round(value: float, down: bool = False) -> int:
    """To two digits."""
    unit = 10 ** max(int(log10(max(value, 1))) - 1, 0)
    return int(value // unit * unit) if down else int(value / unit + 0.5) * unit


def _round_up(value: float) -> int:
    """To 1, 2 or 5 times a power of ten."""
    power = 10 ** int(log10(max(value, 1)))
    return next(ceil(factor * power) for factor in (1, 2, 5, 10) if factor * power >= value)


def count_bars(part: SourceLengths, edges: Sequence[int]) -> np.ndarray:
    """Shares of the rows in each bar: `(len(edges) - 1,)` float64."""
    counts = np.bincount(np.searchsorted(edges, part.lengths, side="right") - 1, minlength=len(edges) - 1)
    return counts / max(len(part.lengths), 1)


def summary(part: SourceLengths, limit: int | None) -> str:
    """`gsm8k/train: 200 rows, median 155, p90 240, p99 310, longest 402 tokens; 3.0% above 300`."""
    middle, ninety, most = (part.quantile(share) for share in (0.5, 0.9, 0.99))
    sizes = f"median {middle:,}, p90 {ninety:,}, p99 {most:,}, longest {part.lengths.max():,} tokens"
    over = "" if limit is None else f"; {part.above(limit):.1%} above {limit:,}"
    rows = len(part.lengths)
    return f"{part.source}: {rows:,} row{'s' * (rows != 1)}, {sizes}{over}"


def print_histograms(console: Any, parts: Sequence[SourceLengths], limit: int | None = None) -> None:
    """Shows the lengths of each source as bars; those beyond the limit are yellow, and marked where there are no colours.

    Args:
        console: rich's.
        parts: Sources; those without rows are left out.
        limit: The longest row that is trained on whole; None where nothing is cut.
    """
    for part in parts:
        if len(part.lengths):
            _print_histogram(console, part, limit)


def _print_histogram(console: Any, part: SourceLengths, limit: int | None) -> None:
    from rich.text import Text

    edges = histogram_edges([part], limit)
    labels, shares = bar_labels(edges), count_bars(part, edges)
    width = max(map(len, labels))
    console.print("\n" + summary(part, limit), highlight=False, markup=False, soft_wrap=True)
    filled = np.flatnonzero(shares)
    for index in range(filled[0], filled[-1] + 1):
        beyond = limit is not None and edges[index] > limit
        line = Text(f"  {labels[index]:>{width}} ")
        line.append(_bar(shares[index] / shares.max()), "yellow" if beyond else "cyan")
        line.append(f" {shares[index]:.1%}" + (" cut" if beyond and shares[index] else ""))
        console.print(line, highlight=False, no_wrap=True, crop=True)


def _bar(share: float) -> str:
    """A bar of a share of the width, to an eighth of a character; whatever there is shows."""
    eighths = ceil(share * _BAR_WIDTH * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
