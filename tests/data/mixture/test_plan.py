from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.mixture.plan import MixturePlan, row_limits
from hfrecipes.data.mixture.weights import Weight, shares_at

# Source, row and epoch of the first samples of `test_the_order_is_frozen`.
FROZEN = [
    [0, 2, 0],
    [0, 1, 0],
    [1, 56, 0],
    [0, 2, 1],
    [0, 0, 0],
    [0, 4, 0],
    [0, 3, 0],
    [1, 3, 0],
    [0, 2, 2],
    [0, 0, 1],
    [0, 1, 1],
    [0, 3, 1],
]

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
    # A sample; and parts of one as far as weights are rounded to them.
    assert np.abs(plan.counts - targets).max() < 1.001
    found = plan.locate_all(np.arange(plan.total))
    for block, end in enumerate(ends):
        seen = np.bincount(found[:end, 0], minlength=len(plan.lengths))
        assert (seen == plan.counts[block]).all()
        assert (plan.drawn(int(end)) == seen).all()


@settings(deadline=None, max_examples=100)
@given(plans())
def test_each_pass_over_a_source_has_every_row_once(plan: MixturePlan) -> None:
    found = plan.locate_all(np.arange(plan.total))
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
    found = plan.locate_all(np.arange(start, stop))
    assert [[place.source, place.row, place.epoch] for place in alone] == found.tolist()
    shuffled = data.draw(st.permutations(range(stop - start)))
    assert plan.locate_all(np.array(shuffled, dtype=np.int64) + start).tolist() == found[shuffled].tolist()


def test_a_small_source_is_not_rounded_away() -> None:
    plan = MixturePlan(
        {"big": Weight.of(0.999), "small": Weight.of(0.001)}, {"big": 10**6, "small": 100}, 100_000, 0, 64
    )
    assert plan.counts[-1, 1] == pytest.approx(100_000 * 0.001, abs=2)


def test_targets_with_a_source_that_ends_are_followed() -> None:
    weights = {"a": Weight.of([[0, 1], [0.5, 1], [0.5, 0]]), "b": Weight.of([[0, 0], [0.5, 0], [0.5, 1]])}
    plan = MixturePlan(weights, {"a": 7, "b": 9}, 100, 0, 10)
    assert plan.locate_all(np.arange(100))[:, 0].tolist() == [0] * 50 + [1] * 50


def test_weights_that_are_all_zero_somewhere_are_refused() -> None:
    with pytest.raises(ValueError, match="all weights are 0 at progress"):
        MixturePlan({"a": Weight.of([[0, 1], [0.5, 0]])}, {"a": 3}, 100, 0, 10).shares  # noqa: B018


def test_planning_millions_of_samples_and_finding_one_is_cheap() -> None:
    weights = {"a": Weight.of([[0, 1], [1, 0.2]]), "b": Weight.of(0.5), "c": Weight.of([[0, 0.1], [1, 3]], "cosine")}
    began = time.process_time()
    plan = MixturePlan(weights, dict.fromkeys(weights, 10**6), 10_000_000)
    last = plan.locate(9_999_999)
    assert time.process_time() - began < 2
    assert [last.source, last.row, last.epoch] == plan.locate_all(np.array([9_999_999]))[0].tolist()


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
    assert np.bincount(limited.locate_all(np.arange(plan.total))[:, 0], minlength=len(allowed)).tolist() == (
        limited.counts[-1].tolist()
    )
    free = [number for number, name in enumerate(plan.lengths) if limits.get(name, plan.total) >= plan.total]
    # By the weights themselves: planned shares are whole parts of a sample, of which little may be left for these.
    wanted = shares_at(
        {name: plan.weights[name] for name in np.array(list(plan.lengths))[free]},
        (ends[:-1] + ends[1:]) / 2 / plan.total,
    )
    got = limited.shares[:, free] / limited.shares[:, free].sum(axis=1, keepdims=True)
    assert np.allclose(wanted, got, atol=4e-6)


def test_a_mixture_whose_sources_are_used_up_is_refused() -> None:
    weights = {"a": Weight.of(1), "b": Weight.of([[0, 1], [0.5, 1], [0.5, 0]])}
    with pytest.raises(ValueError, match=r"from progress 0\.500 on, no source with a weight has rows left"):
        MixturePlan(weights, {"a": 10, "b": 10}, 100, 0, 10, {"a": 30}).shares  # noqa: B018
    with pytest.raises(ValueError, match="allow 40 samples, and 100 are to be drawn"):
        MixturePlan(weights, {"a": 10, "b": 10}, 100, 0, 10, {"a": 20, "b": 20})


@settings(deadline=None, max_examples=60)
@given(plans(), st.data())
def test_what_is_due_adds_up_and_is_what_is_drawn_to_within_a_sample(plan: MixturePlan, data: st.DataObject) -> None:
    middle = data.draw(st.integers(0, plan.total))
    first, rest = plan.due(0, middle), plan.due(middle, plan.total)
    assert first.sum() == pytest.approx(middle, abs=1e-6)
    assert first + rest == pytest.approx(plan.due(0, plan.total), abs=1e-6)
    whole = middle // plan.block * plan.block
    assert np.abs(plan.due(0, whole) - plan.drawn(whole)).max(initial=0) < 1.001


def test_the_order_is_frozen() -> None:
    """What was trained half is gone on with by later versions; where this has to change, VERSION is counted up."""
    weights = {"a": Weight.of([[0, 3], [1, 1]], "cosine"), "b": Weight.of(1), "c": Weight.of([[0, 0.1], [1, 0.7]])}
    plan = MixturePlan(weights, {"a": 5, "b": 100, "c": 3}, 40, 9, 8)
    places = plan.locate_all(np.arange(12)).tolist()
    assert (plan.counts[-1].tolist(), places) == ([23, 12, 5], FROZEN)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"total": 0}, "total is 0"),
        ({"block": 0}, "block is 0"),
        ({"total": 2**50}, "at most 274,877,906,944 samples"),
        ({"lengths": {"a": 0}}, "the source a has no rows"),
        ({"lengths": {"b": 3}}, "weights are given for a, lengths for b"),
        ({"weights": {}, "lengths": {}}, "at least one source"),
        ({"limits": {"z": 3}}, "limits are given for z"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(changed: dict, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        MixturePlan(**{"weights": {"a": Weight.of(1)}, "lengths": {"a": 3}, "total": 9, **changed})


@pytest.mark.parametrize("index", [-1, 9])
def test_samples_beyond_the_plan_are_refused(index: int) -> None:
    plan = MixturePlan({"a": Weight.of(1)}, {"a": 3}, 9)
    with pytest.raises(IndexError, match=f"sample {index} of a mixture of 9"):
        plan.locate(index)
    with pytest.raises(IndexError, match="of a mixture of 9"):
        plan.locate_all(np.array([0, index]))


def test_limits_by_epochs_are_those_a_person_means() -> None:
    assert row_limits({"a": 0.29, "b": 4}, {"a": 100, "b": 7, "c": 1}) == {"a": 29, "b": 28}
    with pytest.raises(ValueError, match=r"max_epochs 0\.1 of a allows none of its 5 rows"):
        row_limits({"a": 0.1}, {"a": 5})
    with pytest.raises(ValueError, match="max_epochs names z"):
        row_limits({"z": 1}, {"a": 5})
