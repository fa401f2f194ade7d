"""Figures of a plan as words, however large they are."""

from __future__ import annotations

import pytest

from hfrecipes.plan.units import count, gib


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (999, "999"), (12_300, "12.3K"), (7.89e9, "7.89B"), (1.2e12, "1.20T"), (10**18, "1.00e+18")],
)
def test_counts(number: float, words: str) -> None:
    assert count(number) == words


@pytest.mark.parametrize(
    ("size", "words"), [(512, "0.5 KiB"), (2**30, "1.0 GiB"), (2**29, "0.50 GiB"), (10**18, "1.00e+18 bytes")]
)
def test_sizes(size: float, words: str) -> None:
    assert gib(size) == words


@pytest.mark.parametrize("number", [10**400, int("9" * 299) * 10**300, float("inf"), 1e300])
def test_what_no_float_can_hold_is_shown(number: float) -> None:
    """Steps times bytes of a recipe with a number of hundreds of digits."""
    assert len(count(number)) < 12
    assert len(gib(number)) < 20
