from __future__ import annotations

import math

import numpy as np
import pytest

from hfrecipes.data.mixture.weights import Weight, shares_at


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
        (-0.5, "-0.5 is negative"),
        (float("inf"), "inf is neither a number nor a list"),
        (True, "True is neither a number"),
        ([0.5, 0.3], "point 1 is 0.5, not"),
        ([[0, True]], r"point 1 is \[0, True\]"),
        (["ab"], "point 1 is ab"),
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


def test_an_unknown_interpolation_is_refused() -> None:
    with pytest.raises(ValueError, match="interpolation is 'cubic'; it is one of linear, step, cosine"):
        Weight.of([[0, 1], [1, 2]], "cubic")


def test_a_cosine_is_flat_at_both_ends_and_rises_between_as_its_formula_says() -> None:
    weight = Weight.of([[0.2, 1], [0.6, 5]], "cosine")
    places = np.linspace(0.2, 0.6, 17)
    by_hand = [1 + 4 * math.sin(math.pi / 2 * (place - 0.2) / 0.4) ** 2 for place in places]
    assert weight.at(places) == pytest.approx(by_hand, abs=1e-11)


def test_two_points_at_one_place_are_a_jump() -> None:
    weight = Weight.of([[0, 1], [0.5, 1], [0.5, 0], [1, 0]])
    assert weight.at(np.array([0.4999, 0.5, 0.5001])).tolist() == [1, 0, 0]


def test_all_weights_zero_somewhere_is_refused_with_the_place() -> None:
    with pytest.raises(ValueError, match=r"all weights are 0 at progress 0\.750"):
        shares_at({"a": Weight.of([[0, 1], [0.6, 0]]), "b": Weight.of(0)}, np.array([0.1, 0.75, 0.9]))
