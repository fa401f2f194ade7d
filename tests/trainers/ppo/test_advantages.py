"""Advantages against sums written out, in float64."""

from __future__ import annotations

import random

import pytest
import torch

from hfrecipes.trainers.ppo.advantages import gae


def written_out(rewards: list[float], values: list[float], gamma: float, lam: float) -> tuple[list[float], list[float]]:
    """Equation 16 as a double sum over the tokens of one completion, none of them masked."""
    count = len(rewards)
    deltas = [rewards[t] + gamma * (values[t + 1] if t + 1 < count else 0.0) - values[t] for t in range(count)]
    advantages = [sum((gamma * lam) ** (later - t) * deltas[later] for later in range(t, count)) for t in range(count)]
    return advantages, [advantage + value for advantage, value in zip(advantages, values, strict=True)]


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_it_is_the_sum_over_the_tokens_that_were_chosen(gamma: float, lam: float) -> None:
    """Masks with holes: what stands in them is as if it were not there."""
    draws = random.Random(0)
    rows, width = 20, 9
    mask = [[draws.random() < 0.7 for _ in range(width)] for _ in range(rows)]
    rewards = [[draws.gauss(0, 1) for _ in range(width)] for _ in range(rows)]
    values = [[draws.gauss(0, 1) for _ in range(width)] for _ in range(rows)]
    found = gae(
        torch.tensor(rewards, dtype=torch.float64),
        torch.tensor(values, dtype=torch.float64),
        torch.tensor(mask),
        gamma,
        lam,
    )
    for row in range(rows):
        chosen = [place for place in range(width) if mask[row][place]]
        expected = written_out([rewards[row][t] for t in chosen], [values[row][t] for t in chosen], gamma, lam)
        for one, other in zip(found, expected, strict=True):
            assert one[row, chosen].tolist() == pytest.approx(other, abs=1e-12)
            assert all(one[row, place] == 0 for place in range(width) if place not in chosen)


def test_with_lambda_one_the_returns_are_the_discounted_rewards() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.float64)
    values = torch.tensor([[9.0, -3.0, 5.0]], dtype=torch.float64)
    _, returns = gae(rewards, values, torch.ones(1, 3, dtype=torch.bool), 0.5, 1.0)
    assert returns.tolist() == [[pytest.approx(1 + 0.5 * 2 + 0.25 * 4), pytest.approx(2 + 0.5 * 4), pytest.approx(4)]]


def test_a_completion_that_was_cut_ends_where_it_was_cut() -> None:
    """Values behind the end are not read, whatever a model says of padding."""
    rewards, mask = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[True, True, False]])
    values = torch.tensor([[0.5, 0.25, 1000.0]])
    advantages, returns = gae(rewards, values, mask, 1.0, 0.95)
    assert advantages[0, 1] == 0.75
    assert returns[0].tolist() == [pytest.approx(0.5 + (0.25 - 0.5) + 0.95 * 0.75), 1.0, 0.0]
