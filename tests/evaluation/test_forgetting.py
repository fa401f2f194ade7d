"""Gain and forgetting: signs, weights by bytes, and intervals that know the same texts were read twice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hfrecipes.evaluation.forgetting import Comparison, change_of, gain_and_forgetting

BITS = math.log(2)


def comparison(domain: str, before: list[float], after: list[float], sizes: list[int], name: str = "set") -> Comparison:
    """Costs in bits, for arithmetic in the head."""
    nats = [np.array(costs) * BITS for costs in (before, after)]
    return Comparison(name, domain, nats[0], np.array(sizes), nats[1], np.array(sizes))


def test_what_the_new_domain_costs_less_is_gained_and_what_the_old_costs_more_is_forgotten() -> None:
    new, old = comparison("new", [30, 10], [10, 10], [10, 10]), comparison("old", [10, 20], [15, 25], [10, 30])
    found = gain_and_forgetting([new, old])
    assert found["gain"]["value"] == pytest.approx(20 / 20)
    assert found["forgetting"]["value"] == pytest.approx(10 / 40)
    assert change_of(new)["change"]["value"] == pytest.approx(-1.0)
    assert (change_of(old)["before"]["value"], change_of(old)["after"]["value"]) == pytest.approx((30 / 40, 40 / 40))


def test_several_sets_of_a_domain_are_weighed_by_their_bytes() -> None:
    small, large = comparison("old", [10], [20], [10]), comparison("old", [90], [90], [90])
    assert gain_and_forgetting([small, large])["forgetting"]["value"] == pytest.approx(0.1)


def test_a_domain_without_sets_has_no_figure() -> None:
    assert gain_and_forgetting([]) == {}
    assert gain_and_forgetting([comparison("old", [1], [2], [1])]).keys() == {"forgetting"}


def test_intervals_are_paired_so_a_constant_change_has_none_of_the_texts_own_spread() -> None:
    draw = np.random.default_rng(0)
    before = draw.uniform(10, 1000, 200)
    change = change_of(comparison("new", before.tolist(), (before - 5).tolist(), [100] * 200))
    assert change["change"]["value"] == pytest.approx(-0.05)
    assert change["change"]["high"] - change["change"]["low"] < 1e-9
    assert change["before"]["high"] - change["before"]["low"] > 0.5


def test_gain_has_the_interval_of_the_change_turned_around() -> None:
    draw = np.random.default_rng(1)
    before, after = draw.uniform(20, 30, 50), draw.uniform(10, 30, 50)
    one = comparison("new", before.tolist(), after.tolist(), [10] * 50)
    gain, change = gain_and_forgetting([one])["gain"], change_of(one)["change"]
    assert (gain["low"], gain["value"], gain["high"]) == (-change["high"], -change["value"], -change["low"])
    assert gain["low"] < gain["value"] < gain["high"] and gain["n"] == 50


def test_bytes_may_differ_between_the_tokenizers() -> None:
    one = Comparison("s", "new", np.array([8 * BITS]), np.array([4]), np.array([8 * BITS]), np.array([8]))
    assert change_of(one)["change"]["value"] == pytest.approx(8 / 8 - 8 / 4)
