"""What card and report say of runs over several seeds."""

from __future__ import annotations

from typing import Any

import pytest

from hfrecipes.publish.comparisons import comparisons_table, seeds_headlines
from tests.publish.facts import make_facts
from tests.publish.test_damaged_facts import WRONG, changed, places

ENTRY: dict[str, Any] = {
    "against": "plain",
    "dataset": "python_docstrings/test",
    "metric": "bits_per_byte",
    "unit": "bits/byte",
    "higher_is_better": False,
    "ours": {"values": [1.1, 1.3], "seeds": [0, 1]},
    "theirs": {"values": [1.2, 1.25], "seeds": [0, 1]},
    "paired": True,
    "difference": -0.025,
    "over_seeds": {"low": -0.98, "high": 0.93, "n": 2},
    "over_rows": {"low": -0.03, "high": -0.02, "n": 100},
}


def test_a_difference_stands_beside_both_means_and_each_run() -> None:
    _, row = comparisons_table(make_facts(comparisons=[ENTRY]))
    assert row == [
        "python_docstrings/test",
        "bits per byte ↓",
        "plain",
        "1.200 (1.100, 1.300)",
        "1.225 (1.200, 1.250)",
        "-0.0250 [-0.9800, +0.9300]",
        "[-0.0300, -0.0200]",
    ]


def test_one_run_against_one_has_no_headline_and_no_interval_over_seeds() -> None:
    alone = {"ours": {"values": [1.1], "seeds": [0]}, "theirs": {"values": [1.2], "seeds": [0]}, "over_seeds": None}
    facts = make_facts(comparisons=[ENTRY | alone | {"difference": -0.1, "over_rows": None}])
    assert comparisons_table(facts)[1][3:] == ["1.100", "1.200", "-0.1000", "—"]
    assert not seeds_headlines(facts)


@pytest.mark.parametrize("value", WRONG, ids=str)
def test_no_damaged_entry_ends_in_a_traceback(value: Any) -> None:
    whole = {"comparisons": [ENTRY]}
    for path in places(ENTRY):
        if path:
            facts = changed(whole, ("comparisons", 0, *path), value)
            comparisons_table(facts)
            seeds_headlines(facts)
