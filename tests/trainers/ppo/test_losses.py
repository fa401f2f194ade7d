"""Losses, estimates and scores against loops over numbers."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor

from hfrecipes.trainers.ppo.kl import KLController, kl_estimates
from hfrecipes.trainers.ppo.losses import policy_losses, value_losses
from hfrecipes.trainers.ppo.scores import ScoreNormalizer
from hfrecipes.trainers.ppo.statistics import explained_variance, masked_mean, masked_variance, masked_whiten


def numbers(count: int, seed: int) -> list[float]:
    draws = random.Random(seed)
    return [draws.gauss(0, 0.5) for _ in range(count)]


def as_tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_policy_loss_is_that_of_each_token() -> None:
    new, old, advantages = (numbers(200, seed) for seed in range(3))
    losses, clipped = policy_losses(as_tensor(new), as_tensor(old), as_tensor(advantages), 0.2)
    for place, (logp, before, advantage) in enumerate(zip(new, old, advantages, strict=True)):
        ratio = math.exp(logp - before)
        near = min(max(ratio, 0.8), 1.2)
        expected = max(-advantage * ratio, -advantage * near)
        assert float(losses[place]) == pytest.approx(expected, abs=1e-12)
        assert bool(clipped[place]) == (-advantage * near > -advantage * ratio)
    assert 0 < int(clipped.sum()) < 200


def test_no_gradient_pushes_a_ratio_further_than_the_clip() -> None:
    logps = torch.tensor([0.5, 0.5, -0.5, -0.5], dtype=torch.float64, requires_grad=True)
    losses, _ = policy_losses(logps, torch.zeros(4, dtype=torch.float64), as_tensor([1.0, -1.0, 1.0, -1.0]), 0.2)
    losses.sum().backward()
    assert [bool(slope) for slope in logps.grad] == [False, True, True, False]


def test_the_value_loss_is_that_of_each_token() -> None:
    values, old, returns = (numbers(200, seed) for seed in range(3, 6))
    losses, clipped = value_losses(as_tensor(values), as_tensor(old), as_tensor(returns), 0.2)
    for place, (value, before, target) in enumerate(zip(values, old, returns, strict=True)):
        near = min(max(value, before - 0.2), before + 0.2)
        expected = 0.5 * max((value - target) ** 2, (near - target) ** 2)
        assert float(losses[place]) == pytest.approx(expected, abs=1e-12)
        assert bool(clipped[place]) == ((near - target) ** 2 > (value - target) ** 2)
    assert 0 < int(clipped.sum()) < 200


def test_k1_and_k3_are_right_in_the_mean_and_k2_is_near() -> None:
    """The mean over all tokens, weighted by how often the policy draws them, against the divergence itself."""
    torch.manual_seed(0)
    policy = torch.randn(50, dtype=torch.float64).log_softmax(0)
    reference = (policy + 0.1 * torch.randn(50, dtype=torch.float64)).log_softmax(0)
    true = float((policy.exp() * (policy - reference)).sum())
    mean = {name: float((policy.exp() * kl_estimates(policy, reference, name)).sum()) for name in ("k1", "k2", "k3")}
    assert mean["k1"] == pytest.approx(true, rel=1e-9)
    assert mean["k3"] == pytest.approx(true, rel=1e-9)
    assert mean["k2"] == pytest.approx(true, rel=0.1)
    assert bool((kl_estimates(policy, reference, "k3") >= 0).all())


@pytest.mark.parametrize(("kl", "factor"), [(100.0, 1.2), (6.0, 1.0), (0.0, 0.8), (6.6, 1.1)])
def test_the_coefficient_is_steered_towards_the_target(kl: float, factor: float) -> None:
    steered, fixed = KLController(0.15, True, 6.0, 10_000), KLController(0.15, False, 6.0, 10_000)
    steered.update(kl, 10_000)
    fixed.update(kl, 10_000)
    assert steered.coefficient == pytest.approx(0.15 * factor)
    assert fixed.coefficient == 0.15


def test_a_whole_horizon_of_far_rollouts_raises_the_coefficient_by_a_fifth() -> None:
    controller = KLController(0.1, True, 6.0, 1000)
    for _ in range(10):
        controller.update(60.0, 100)
    assert controller.coefficient == pytest.approx(0.1 * 1.02**10)


def test_scores_by_the_reference_are_those_of_its_rollout() -> None:
    normalizer = ScoreNormalizer("reference")
    first, later = torch.tensor([1.0, 3.0, 5.0, 7.0]), torch.tensor([4.0, 14.0])
    assert float(normalizer(first).mean()) == pytest.approx(0)
    assert float(normalizer(first).std(correction=0)) == pytest.approx(1)
    assert normalizer(later).tolist() == [pytest.approx(0), pytest.approx(10 / math.sqrt(5))]


def test_running_scores_are_those_of_all_rollouts() -> None:
    normalizer = ScoreNormalizer("running")
    draws = [torch.tensor(numbers(7, seed)) * 3 + 2 for seed in range(5)]
    for scores in draws:
        found = normalizer(scores)
    seen = torch.cat(draws).double()
    assert normalizer.mean == pytest.approx(float(seen.mean()))
    expected = (draws[-1] - float(seen.mean())) / float(seen.std(correction=0))
    assert torch.allclose(found, expected.to(found.dtype), atol=1e-6)


def test_scores_that_are_all_alike_stay_finite() -> None:
    assert ScoreNormalizer("running")(torch.full((4,), 5.0)).tolist() == [0.0] * 4


def test_padding_changes_no_statistic() -> None:
    values, mask = torch.tensor([[1.0, 2.0, 1e6], [3.0, -1e6, 1e6]]), torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    assert float(masked_mean(values, mask)) == 2.0
    assert float(masked_variance(values, mask)) == pytest.approx(2 / 3)
    whitened = masked_whiten(values, mask)
    assert float(whitened[mask].mean()) == pytest.approx(0, abs=1e-6)
    assert float(whitened[mask].std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert not bool(whitened[~mask].any())


def test_rewards_keep_their_mean_where_that_is_asked_for() -> None:
    values, mask = torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[True, True, False]])
    kept = masked_whiten(values, mask, shift_mean=False)
    assert kept[0].tolist() == [pytest.approx(0.5), pytest.approx(2.5), 0.0]


def test_a_critic_is_told_by_what_it_explains() -> None:
    returns, mask = torch.tensor([[1.0, 2.0, 3.0, 99.0]]), torch.tensor([[True, True, True, False]])
    assert float(explained_variance(returns.clone(), returns, mask)) == 1.0
    assert float(explained_variance(torch.full_like(returns, 2.0), returns, mask)) == pytest.approx(0)
    assert float(explained_variance(-returns, returns, mask)) == pytest.approx(-3)
    assert float(explained_variance(returns, torch.ones_like(returns), mask)) == 0.0
