"""Token lengths of a preview: the counts, what the terminal shows, and the picture."""

from __future__ import annotations

import io
import re
import statistics
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from hfrecipes.data.encode import EncodedExample
from hfrecipes.plan.histogram import (
    SourceLengths,
    bar_labels,
    count_bars,
    histogram_edges,
    print_histograms,
    summary,
)
from hfrecipes.plan.picture import draw_preview
from hfrecipes.recipe.problem import RecipeError


def lengths_of(*lengths: int, source: str = "a/train") -> SourceLengths:
    return SourceLengths.of_documents(source, [[0] * length for length in lengths])


def shown(parts: list[SourceLengths], limit: int | None = None, **options) -> str:
    file = io.StringIO()
    print_histograms(Console(file=file, width=120, **options), parts, limit)
    return file.getvalue()


samples = st.lists(st.integers(1, 40_000), min_size=1, max_size=80)


@given(samples, st.none() | st.integers(1, 50_000))
@settings(deadline=None)
def test_bars_hold_every_row_once_and_none_stands_across_the_limit(lengths, limit):
    part = lengths_of(*lengths)
    edges = histogram_edges([part], limit)
    assert all(low < high for low, high in pairwise(edges)) and len(edges) <= 16
    shares = count_bars(part, edges)
    by_hand = [sum(low <= length < high for length in lengths) for low, high in pairwise(edges)]
    assert sum(by_hand) == len(lengths)
    assert np.allclose(shares * len(lengths), by_hand)
    assert shares[-1] > 0 or limit is not None
    if limit is not None:
        beyond = sum(share for share, edge in zip(shares, edges, strict=False) if edge > limit)
        assert beyond == pytest.approx(part.above(limit))


@given(samples)
@settings(deadline=None)
def test_quantiles_are_lengths_of_rows_that_enough_rows_do_not_exceed(lengths):
    part = lengths_of(*lengths)
    for share in (0.5, 0.9, 0.99):
        found = part.quantile(share)
        assert found in lengths
        assert sum(length <= found for length in lengths) >= share * len(lengths) - 1e-6
        assert sum(length < found for length in lengths) < share * len(lengths)
    assert part.quantile(0.5) == statistics.median_low(lengths)


def test_the_summary_says_what_a_person_wants_to_know():
    part = lengths_of(*range(1, 101))
    assert summary(part, 90) == "a/train: 100 rows, median 50, p90 90, p99 99, longest 100 tokens; 10.0% above 90"
    assert summary(part, None).endswith("longest 100 tokens")


def test_what_was_cut_off_counts_as_length_and_loss_as_trained():
    examples = [
        EncodedExample([1, 2, 3], [-100, 2, 3], 2, truncated_tokens=7),
        EncodedExample([1, 2], [-100, 2], 1),
    ]
    part = SourceLengths.of_examples("a/train", examples)
    assert part.lengths.tolist() == [10, 2]
    assert part.supervised == (3, 5)


def test_the_terminal_shows_bars_in_proportion_and_marks_what_is_cut():
    part = lengths_of(*[10] * 30, *[20] * 15, *[40] * 5)
    lines = shown([part], 30).splitlines()
    bars = {line.split()[0]: line.count("█") for line in lines if "█" in line}
    assert max(bars.values()) == 40
    assert sum(value == 20 for value in bars.values()) == 1
    assert [line.split("%")[1] for line in lines if line.endswith("cut")] == [" cut"]
    assert "10.0% cut" in shown([part], 30)
    assert "cut" not in shown([part])


def test_names_are_shown_as_they_are_and_sources_without_rows_are_left_out():
    text = shown([lengths_of(3, source="[red]数据[/red]/train"), lengths_of()])
    assert "[red]数据[/red]/train: 1 row," in text and text.count("row,") == 1
    assert shown([lengths_of()]) == ""


def test_labels_say_the_last_length_that_belongs_to_a_bar():
    assert bar_labels([1, 2, 4, 1000, 2001]) == ["1", "2–3", "4–999", "1,000–2,000"]


PARTS = [lengths_of(*range(20, 240)), lengths_of(*[2**n for n in range(14)], source="数据 $x$/train")]
FIGURES = {
    "limit": 1024,
    "supervised": {"instruction": (40, 100), "refusal": (1, 50)},
    "dropped": {"gopher_quality": 120, "language": 7},
    "title": "my-run",
}


def test_the_picture_says_every_figure_it_was_given(tmp_path: Path):
    draw_preview(tmp_path / "p.svg", PARTS, **FIGURES)
    text = (tmp_path / "p.svg").read_text(encoding="utf-8")
    words = re.sub(r"<[^>]+>", "\n", text)
    for expected in (
        "my-run",
        "gopher_quality",
        "120",
        "language",
        "refusal",
        "40.0% of 100",
        "2.0% of 50",
        "数据 $x$/train",
    ):
        assert expected in words
    for part in PARTS:
        assert summary(part, 1024).rpartition(": ")[2] in words
    assert "beyond max_length 1,024" in words


@pytest.mark.parametrize("name", ["p.svg", "p.png"])
def test_equal_figures_are_equal_files(tmp_path: Path, name):
    draw_preview(tmp_path / name, PARTS, **FIGURES)
    first = (tmp_path / name).read_bytes()
    draw_preview(tmp_path / name, PARTS, **FIGURES)
    assert (tmp_path / name).read_bytes() == first and len(first) > 5000


@pytest.mark.parametrize("figures", [{}, {"dropped": {"language": 0}}, {"supervised": {"a": (0, 0)}}])
def test_pictures_of_less_are_drawn_too(tmp_path: Path, figures):
    for parts in (PARTS[:1], [lengths_of(7)], [lengths_of(n, source=f"s{n}") for n in range(1, 30)], []):
        draw_preview(tmp_path / "p.png", parts, **figures)
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_that_cannot_be_drawn_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"ends in .png or .svg"):
        draw_preview(tmp_path / "p.jpeg", PARTS)
    with pytest.raises(RecipeError, match="cannot be written: No such file"):
        draw_preview(tmp_path / "none" / "p.png", PARTS)
