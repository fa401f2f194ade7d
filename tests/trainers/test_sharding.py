"""What is gathered with a whole model under FSDP2, and the state of weights that have not been trained yet; without processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from hfrecipes.trainers.sharding import give_idle_weights_a_state, is_sharded, kept_with_root


def test_parts_that_are_shared_are_not_sharded_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.distributed import fsdp

    asked: list[Any] = []
    monkeypatch.setattr(fsdp, "fully_shard", lambda module, **words: asked.append(module))
    norm, output, layer = nn.LayerNorm(2), nn.Linear(2, 2), nn.Linear(2, 2)
    with kept_with_root([norm, output]):
        for module in (layer, [norm, output], norm):
            fsdp.fully_shard(module, reshard_after_forward=False)
    fsdp.fully_shard(norm)
    assert asked == [layer, norm]


def test_a_model_in_one_piece_is_not_sharded() -> None:
    assert not is_sharded(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize(
    "make",
    [
        lambda weights: torch.optim.AdamW(weights, lr=0.1),
        lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
        lambda weights: torch.optim.SGD(weights, lr=0.1),
    ],
)
def test_idle_weights_with_a_state_are_trained_as_without(make: Any) -> None:
    ends = []
    for given in (False, True):
        torch.manual_seed(0)
        first, second = nn.Parameter(torch.randn(3, 2)), nn.Parameter(torch.randn(4))
        optimizer = make([first, second])
        for step in range(4):
            first.grad = torch.full_like(first, 1.0 + step)
            second.grad = torch.full_like(second, 2.0 - step) if step > 1 else None
            optimizer.step()
            if given and step == 1:
                assert not optimizer.state.get(second)
                give_idle_weights_a_state(optimizer)
                assert optimizer.state.get(first, {}).keys() == optimizer.state.get(second, {}).keys()
        ends.append([first.detach(), second.detach()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))
