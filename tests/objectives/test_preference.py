"""The loss of rankings and pairs against sums written out in float64."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch.nn.functional import logsigmoid

from hfrecipes.objectives.preference import ranking_losses

FOUR = [0.7, -1.1, 2.3, 0.2]


def pair(better: float, worse: float, margin: float = 0.0) -> float:
    return math.log1p(math.exp(-(better - worse - margin)))


def losses(rewards: list[float], ranks: list[list[int]], **words: object) -> torch.Tensor:
    return ranking_losses(torch.tensor(rewards, dtype=torch.float64), torch.tensor(ranks), **words).losses


def test_a_pair_costs_what_bradley_and_terry_say() -> None:
    assert losses([0.3, -0.2], [[0, 1]]).item() == pytest.approx(pair(0.3, -0.2), abs=1e-12)
    margin = torch.tensor([0.75], dtype=torch.float64)
    assert losses([0.3, -0.2], [[0, 1]], margins=margin).item() == pytest.approx(pair(0.3, -0.2, 0.75), abs=1e-12)


def test_four_answers_are_six_pairs_and_one_prompt() -> None:
    six = [pair(FOUR[better], FOUR[worse]) for better, worse in combinations(range(4), 2)]
    assert len(six) == 6
    found = losses([*FOUR, 0.3, -0.2], [[0, 1, 2, 3], [0, 1, -1, -1]])
    assert found.tolist() == pytest.approx([sum(six) / 6, pair(0.3, -0.2)], abs=1e-12)


def test_tied_answers_make_no_pair_and_order_is_that_of_the_ranks() -> None:
    found = losses(FOUR, [[1, 0, 1, 2]]).item()
    better = [(1, 0), (1, 2), (1, 3), (0, 3), (2, 3)]
    assert found == pytest.approx(sum(pair(FOUR[a], FOUR[b]) for a, b in better) / 5, abs=1e-12)


def test_the_gradient_is_that_of_the_pairs_written_out() -> None:
    rewards = torch.tensor(FOUR, dtype=torch.float64, requires_grad=True)
    (ranking_losses(rewards, torch.tensor([[0, 1, 2, 3]]), centring=0.01).losses.sum()).backward()
    other = torch.tensor(FOUR, dtype=torch.float64, requires_grad=True)
    pairs = list(combinations(range(4), 2))
    parts = [-logsigmoid(other[a] - other[b]) + 0.01 * (other[a] + other[b]) ** 2 for a, b in pairs]
    (sum(parts) / len(pairs)).backward()
    torch.testing.assert_close(rewards.grad, other.grad, rtol=1e-12, atol=1e-14)


def test_centring_of_a_pair_is_that_of_trl() -> None:
    chosen, rejected = torch.tensor([0.3, 1.0], dtype=torch.float64), torch.tensor([-0.2, 2.0], dtype=torch.float64)
    theirs = -logsigmoid(chosen - rejected).mean() + 0.05 * torch.mean((chosen + rejected) ** 2)
    found = losses([0.3, -0.2, 1.0, 2.0], [[0, 1], [0, 1]], centring=0.05).mean()
    assert found.item() == pytest.approx(theirs.item(), abs=1e-12)


def test_accuracy_and_margin_are_means_over_the_pairs_of_a_prompt() -> None:
    found = ranking_losses(torch.tensor(FOUR), torch.tensor([[0, 1, 2, 3]]))
    right = [FOUR[a] > FOUR[b] for a, b in combinations(range(4), 2)]
    assert found.accuracies.item() == pytest.approx(sum(right) / 6)
    assert found.margins.item() == pytest.approx(sum(FOUR[a] - FOUR[b] for a, b in combinations(range(4), 2)) / 6)


def test_what_is_no_pair_has_no_gradient_however_large() -> None:
    rewards = torch.tensor([1e30, 1e30, 0.0], requires_grad=True)
    found = ranking_losses(rewards, torch.tensor([[0, 0, 1]]), centring=0.0).losses
    found.sum().backward()
    assert found.item() == 0.0 and torch.isfinite(rewards.grad).all()
