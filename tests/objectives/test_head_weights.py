"""What each head counts as a training goes on."""

from __future__ import annotations

from typing import Any

import pytest

from hfrecipes.objectives.mtp import head_weights, some_head_rests
from hfrecipes.objectives.settings import MTPSettings


@pytest.mark.parametrize(
    ("words", "progress", "expected"),
    [
        ({"loss_weight": 0.3}, 0.5, [1, 0.3, 0.3, 0.3]),
        ({"loss_weight": [0.3, 0.2, 0.1]}, 0.0, [1, 0.3, 0.2, 0.1]),
        # DeepSeek-V3: 0.3 for the first two thirds of the tokens, then 0.1.
        ({"loss_weight": [[0, 0.3], [0.67, 0.1]], "interpolation": "step"}, 0.6699, [1, 0.3, 0.3, 0.3]),
        ({"loss_weight": [[0, 0.3], [0.67, 0.1]], "interpolation": "step"}, 0.67, [1, 0.1, 0.1, 0.1]),
        ({"loss_weight": [[0.5, 1.0], [1, 0.0]]}, 0.25, [1, 1.0, 1.0, 1.0]),
        ({"loss_weight": [[0.5, 1.0], [1, 0.0]]}, 0.75, [1, 0.5, 0.5, 0.5]),
        ({"loss_weight": [0.3, 0.2, 0.1], "curriculum": "forward"}, 0.6, [1, 0.3, 0.2, 0]),
        ({"loss_weight": [0.3, 0.2, 0.1], "curriculum": "reverse"}, 0.6, [1, 0.3, 0, 0]),
        ({"loss_weight": [[0, 0.4], [1, 0.0]], "curriculum": "forward"}, 0.5, [1, 0.2, 0.2, 0]),
    ],
)
def test_weights_by_head_by_progress_and_by_curriculum(
    words: dict[str, Any], progress: float, expected: list[float]
) -> None:
    settings = MTPSettings(**{"num_future_tokens": 4, "curriculum": "none", **words})
    assert head_weights(settings, progress) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weight", "curriculum", "rests"),
    [
        (0.3, "none", False),
        (0.3, "forward", True),
        (0.0, "none", True),
        ([0.3, 0.0], "none", True),
        ([0.3, 0.1], "none", False),
        ([[0, 0.3], [1, 0]], "none", True),
        ([[0, 0.3], [1, 0.1]], "none", False),
    ],
)
def test_a_head_without_weight_is_known_before(weight: Any, curriculum: str, rests: bool) -> None:
    assert some_head_rests(MTPSettings(3, "parallel", weight, curriculum)) is rests
