from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.mixture.permutation import key_of, mix, permute, permute_all
from hfrecipes.data.mixture.plan import MixturePlan, cumulative_counts
from hfrecipes.data.mixture.weights import Weight, shares_at


@given(st.integers(1, 700), st.integers(0, 2**64 - 1))
def test_a_permutation_reaches_every_element_once_one_by_one_and_all_together(length: int, key: int) -> None:
    one_by_one = [permute(index, length, key) for index in range(length)]
    assert sorted(one_by_one) == list(range(length))
    assert permute_all(np.arange(length), length, key).tolist() == one_by_one


@given(st.integers(1, 2**62), st.integers(0, 2**64 - 1), st.data())
def test_a_permutation_of_any_length_stays_inside(length: int, key: int, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=20, unique=True))
    found = [permute(index, length, key) for index in indices]
    assert len(set(found)) == len(found)
    assert all(0 <= place < length for place in found)
    assert permute_all(np.array(indices), length, key).tolist() == found


def test_the_mixing_function_is_frozen() -> None:
    # SplitMix64 with seed 0 gives these first (Vigna's reference implementation).
    gamma = 0x9E3779B97F4A7C15
    assert [mix(gamma * step % 2**64) for step in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]
    assert [permute(index, 10, key_of(3, 1)) for index in range(10)] == [6, 7, 9, 8, 3, 5, 4, 2, 1, 0]


def test_places_in_a_permutation_look_random() -> None:
    length, hits = 16, np.zeros((16, 16))
    for key in range(4000):
        hits[np.arange(length), permute_all(np.arange(length), length, key_of(key))] += 1
    expected = 4000 / length
    chi_square = ((hits - expected) ** 2 / expected).sum()
    # 15 x 15 degrees of freedom: mean 225, standard deviation 21.
    assert 140 < chi_square < 320


points = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 5)), min_size=1, max_size=5).map(sorted)
schedules = st.builds(Weight.of, points | st.floats(0, 5), st.sampled_from(["linear", "step", "cosine"]))


@st.composite
def plans(draw: st.DrawFn) -> MixturePlan:
    weights = {f"s{number}": draw(schedules) for number in range(draw(st.integers(1, 5)))}
    weights["always"] = Weight.of(draw(st.floats(0.01, 1)))
    lengths = {name: draw(st.integers(1, 60)) for name in weights}
    return MixturePlan(weights, lengths, draw(st.integers(1, 900)), draw(st.integers(0, 9)), draw(st.integers(1, 70)))


@settings(deadline=None, max_examples=200)
@given(plans())
def test_shares_are_kept_at_every_block(plan: MixturePlan) -> None:
    ends = np.minimum(np.arange(plan.num_blocks + 1) * plan.block, plan.total)
    by_block = plan.shares * np.diff(ends)[:, None]
    targets = np.concatenate([np.zeros((1, len(plan.lengths))), np.cumsum(by_block, axis=0)])
    assert (plan.counts.sum(axis=1) == ends).all()
    assert (np.diff(plan.counts, axis=0) >= 0).all()
    assert np.abs(plan.counts - targets).max() < 2
    found = plan.locate_all(0, plan.total)
    for block, end in enumerate(ends):
        seen = np.bincount(found[:end, 0], minlength=len(plan.lengths))
        assert (seen == plan.counts[block]).all()
        assert (plan.drawn(int(end)) == seen).all()


@settings(deadline=None, max_examples=100)
@given(plans())
def test_each_pass_over_a_source_has_every_row_once(plan: MixturePlan) -> None:
    found = plan.locate_all(0, plan.total)
    for source, length in enumerate(plan.lengths.values()):
        rows = found[found[:, 0] == source]
        for epoch in np.unique(rows[:, 2]):
            once = rows[rows[:, 2] == epoch, 1]
            assert len(set(once.tolist())) == len(once)
        whole = int(plan.counts[-1, source]) // length
        for epoch in range(whole):
            assert sorted(rows[rows[:, 2] == epoch, 1].tolist()) == list(range(length))


@settings(deadline=None, max_examples=60)
@given(plans(), st.data())
def test_one_sample_is_found_as_among_all(plan: MixturePlan, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, plan.total))
    stop = data.draw(st.integers(start, plan.total))
    alone = [plan.locate(index) for index in range(start, stop)]
    assert [[place.source, place.row, place.epoch] for place in alone] == plan.locate_all(start, stop).tolist()


def test_a_small_source_is_not_rounded_away() -> None:
    plan = MixturePlan(
        {"big": Weight.of(0.999), "small": Weight.of(0.001)}, {"big": 10**6, "small": 100}, 100_000, 0, 64
    )
    assert plan.counts[-1, 1] == pytest.approx(100_000 * 0.001, abs=2)


def test_targets_with_a_source_that_ends_are_followed() -> None:
    weights = {"a": Weight.of([[0, 1], [0.5, 1], [0.5, 0]]), "b": Weight.of([[0, 0], [0.5, 0], [0.5, 1]])}
    plan = MixturePlan(weights, {"a": 7, "b": 9}, 100, 0, 10)
    assert plan.locate_all(0, 50)[:, 0].tolist() == [0] * 50
    assert plan.locate_all(50, 100)[:, 0].tolist() == [1] * 50


def test_weights_between_points() -> None:
    progress = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    assert Weight.of([[0, 1], [1, 3]]).at(progress).tolist() == [1, 1.5, 2, 2.5, 3]
    assert Weight.of([[0, 1], [0.5, 3]], "step").at(progress).tolist() == [1, 1, 3, 3, 3]
    assert Weight.of([[0.25, 0], [0.75, 1]], "cosine").at(progress).tolist() == pytest.approx([0, 0, 0.5, 1, 1])
    assert shares_at({"a": Weight.of(1), "b": Weight.of(3)}, progress)[:, 1].tolist() == [0.75] * 5


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ([], "no point"),
        ([[0.5]], "point 1"),
        ([[0, 1], [2, 1]], "point 2 has the progress 2"),
        ([[0, -1]], "negative"),
        ([[0.5, 1], [0.2, 1]], "comes before"),
        ([[0, float("nan")]], "point 1"),
    ],
)
def test_a_weight_that_cannot_be_is_named(value: list, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        Weight.of(value)


def test_weights_that_are_all_zero_somewhere_are_refused() -> None:
    with pytest.raises(ValueError, match="all weights are 0 at progress"):
        MixturePlan({"a": Weight.of([[0, 1], [0.5, 0]])}, {"a": 3}, 100, 0, 10).shares  # noqa: B018


def test_planning_millions_of_samples_and_finding_one_is_cheap() -> None:
    weights = {"a": Weight.of([[0, 1], [1, 0.2]]), "b": Weight.of(0.5), "c": Weight.of([[0, 0.1], [1, 3]], "cosine")}
    began = time.process_time()
    plan = MixturePlan(weights, dict.fromkeys(weights, 10**6), 10_000_000)
    last = plan.locate(9_999_999)
    assert time.process_time() - began < 2
    assert [last.source, last.row, last.epoch] == plan.locate_all(9_999_999, 10_000_000)[0].tolist()


def test_counts_stay_within_two_of_targets_for_many_sources() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        shares = generator.dirichlet(np.full(40, 0.05), size=300)
        targets = np.concatenate([np.zeros((1, 40)), np.cumsum(shares, axis=0) * 16])
        counts = cumulative_counts(targets, np.full(300, 16), np.full(40, np.inf))
        assert np.abs(counts - targets).max() < 2
        assert (np.diff(counts, axis=0) >= 0).all()
        assert (counts.sum(axis=1) == np.arange(301) * 16).all()


@settings(deadline=None, max_examples=200)
@given(plans(), st.data())
def test_no_source_is_drawn_from_beyond_its_limit_and_the_others_share_what_it_leaves(
    plan: MixturePlan, data: st.DataObject
) -> None:
    limits = {name: data.draw(st.integers(0, 200)) for name in plan.lengths if name != "always"}
    limited = dataclasses.replace(plan, limits=limits)
    allowed = np.array([limits.get(name, np.inf) for name in plan.lengths])
    assert (limited.counts <= allowed).all()
    ends = np.minimum(np.arange(plan.num_blocks + 1) * plan.block, plan.total)
    assert (limited.counts.sum(axis=1) == ends).all()
    assert np.bincount(limited.locate_all(0, plan.total)[:, 0], minlength=len(allowed)).tolist() == (
        limited.counts[-1].tolist()
    )
    free = [number for number, name in enumerate(plan.lengths) if limits.get(name, plan.total) >= plan.total]
    wanted = plan.shares[:, free] / plan.shares[:, free].sum(axis=1, keepdims=True)
    got = limited.shares[:, free] / limited.shares[:, free].sum(axis=1, keepdims=True)
    assert np.allclose(wanted, got)


def test_a_mixture_whose_sources_are_used_up_is_refused() -> None:
    weights = {"a": Weight.of(1), "b": Weight.of([[0, 1], [0.5, 1], [0.5, 0]])}
    with pytest.raises(ValueError, match="no source with a weight has rows left"):
        MixturePlan(weights, {"a": 10, "b": 10}, 100, 0, 10, {"a": 30}).shares  # noqa: B018
    with pytest.raises(ValueError, match="allow 40 samples, and 100 are to be drawn"):
        MixturePlan(weights, {"a": 10, "b": 10}, 100, 0, 10, {"a": 20, "b": 20})
