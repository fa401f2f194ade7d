from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfrecipes.data.mixture.schedule import MixtureSchedule, SourceSize, schedule_mixture
from hfrecipes.data.mixture.settings import MixtureSettings
from hfrecipes.data.mixture.weights import Weight
from hfrecipes.recipe.problem import RecipeError

BATCH = 8
# Rows of unlike length: of 10 and of 50 tokens.
SIZES = (SourceSize(rows=300, tokens=3000), SourceSize(rows=40, tokens=2000))
WEIGHTS = {"short": Weight.of([[0, 0.8], [1, 0.2]]), "long": Weight.of([[0, 0.2], [1, 0.8]])}


def said(**changed: Any) -> MixtureSettings:
    words = {"max_epochs": {}, "total_tokens": None, "tokens_per_parameter": None}
    words |= {"temperature": 1.0, "seed": 0, "block": None}
    return MixtureSettings(**{"weights": WEIGHTS, "names": ("short", "long"), **words, **changed})


def tokens_read(schedule: MixtureSchedule, start: int, stop: int) -> np.ndarray:
    """Tokens of each source in some samples, counted one by one."""
    read = np.zeros(len(schedule.names))
    for number in range(start, stop):
        source = schedule.plan.locate(number).source
        read[source] += schedule.sizes[source].mean
    return read


def test_shares_are_of_tokens_although_rows_are_of_unlike_length() -> None:
    schedule = schedule_mixture(said(), SIZES, BATCH, steps=100)
    assert schedule.plan.total == 800
    for quarter in range(4):
        read = tokens_read(schedule, 200 * quarter, 200 * (quarter + 1))
        middle = 0.8 - 0.6 * (quarter + 0.5) / 4
        assert read[0] / read.sum() == pytest.approx(middle, abs=0.03)
    assert schedule.token_shares()[0].tolist() == pytest.approx([0.797, 0.203], abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(2000, 60_000), st.floats(0.05, 0.95))
def test_as_many_tokens_as_asked_for_to_within_a_step(asked: int, share: float) -> None:
    weights = {"short": Weight.of(share), "long": Weight.of(1 - share)}
    schedule = schedule_mixture(said(weights=weights, total_tokens=asked), SIZES, BATCH)
    per_step = BATCH * schedule.tokens / schedule.plan.total
    assert schedule.plan.total == schedule.steps * BATCH
    assert abs(schedule.tokens - asked) <= max(0.51 * per_step + 50, 0.51 * 8 * 50)
    assert schedule.tokens == pytest.approx(tokens_read(schedule, 0, schedule.plan.total).sum())


def test_a_source_that_ends_changes_the_mean_row_and_the_tokens_are_met_still() -> None:
    weights = {"short": Weight.of(0.2), "long": Weight.of(0.8)}
    schedule = schedule_mixture(said(weights=weights, total_tokens=20_000, max_epochs={"long": 1}), SIZES, BATCH)
    assert schedule.plan.counts[-1].tolist()[1] == 40
    assert schedule.tokens == pytest.approx(20_000, abs=4 * 50)
    assert schedule.epochs()["long"] == 1
    assert schedule.repeated_tokens() == {"short": schedule.trained_tokens[0] - 3000, "long": 0}


def test_tokens_by_parameter_epochs_and_steps() -> None:
    by_parameter = schedule_mixture(said(tokens_per_parameter=20.0), SIZES, BATCH, parameters=1000)
    assert by_parameter.tokens == pytest.approx(20_000, abs=200)
    by_epochs = schedule_mixture(said(), SIZES, BATCH, epochs=3)
    assert by_epochs.steps == -(-3 * 340 // BATCH)
    assert schedule_mixture(said(), SIZES, BATCH, steps=7, epochs=3).steps == 7


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 0.9), (2.0, 0.75), (100.0, 0.5)])
def test_without_weights_shares_go_by_tokens_and_a_temperature_flattens_them(temperature: float, share: float) -> None:
    sizes = (SourceSize(900, 9000), SourceSize(20, 1000))
    schedule = schedule_mixture(said(weights=None, temperature=temperature), sizes, BATCH, steps=50)
    assert schedule.token_shares()[0, 0] == pytest.approx(share, abs=0.01)
    assert schedule.token_shares()[0, 0] == pytest.approx(
        9 ** (1 / temperature) / (9 ** (1 / temperature) + 1), abs=1e-6
    )


def test_shares_by_tokens_see_all_sources_as_often() -> None:
    epochs = schedule_mixture(said(weights=None), SIZES, BATCH, epochs=2).epochs()
    assert epochs["short"] == pytest.approx(2, abs=0.05) and epochs["long"] == pytest.approx(2, abs=0.05)


@pytest.mark.parametrize(
    ("changed", "sizes", "key"),
    [
        ({"weights": {**WEIGHTS, "long": Weight.of(0.5)}}, SIZES, "data.mixture.sources.long.weight"),
        ({}, (SIZES[0], SourceSize(41, 2000)), "data.mixture.sources.long.rows"),
        ({}, (SIZES[0], SourceSize(40, 2001)), "data.mixture.sources.long.tokens"),
        ({"max_epochs": {"short": 2}}, SIZES, "data.mixture.sources.short.most_rows"),
        ({"seed": 1}, SIZES, "data.mixture.seed"),
        ({"block": 16}, SIZES, "data.mixture.block"),
    ],
)
def test_whatever_decides_the_order_is_in_the_fingerprint(changed: dict, sizes: tuple, key: str) -> None:
    one = schedule_mixture(said(), SIZES, BATCH, steps=20).fingerprint()
    other = schedule_mixture(said(**changed), sizes, BATCH, steps=20).fingerprint()
    assert [name for name in one if one[name] != other[name]] == [key]


def test_very_long_runs_have_longer_blocks() -> None:
    schedule = schedule_mixture(said(), (SourceSize(10**9, 10**12), SourceSize(10**9, 10**12)), 1024, steps=10**6)
    assert schedule.plan.block == 16 * 1024
    assert schedule.plan.num_blocks <= 65_536


@pytest.mark.parametrize(
    ("changed", "sizes", "fault"),
    [
        ({}, (SIZES[0], SourceSize(0, 0)), "nothing is left of the source long"),
        ({"max_epochs": {"short": 1, "long": 1}}, SIZES, "the limits of all sources allow 340 samples, and 800"),
        ({"max_epochs": {"long": 0.01}}, SIZES, "max_epochs 0.01 of long allows none of its 40 rows"),
        (
            {"weights": {"short": Weight.of([[0, 1], [0.5, 0]]), "long": Weight.of(0.5)}, "max_epochs": {"long": 2}},
            SIZES,
            "no source with a weight has rows left",
        ),
    ],
)
def test_what_cannot_be_planned_is_told_at_the_mixture(changed: dict, sizes: tuple, fault: str) -> None:
    with pytest.raises(RecipeError, match=fault) as caught:
        schedule_mixture(said(**changed), sizes, BATCH, steps=100, where="r.yaml:7")
    assert str(caught.value).startswith("r.yaml:7: error: ")
