"""The loss in chunks is the loss of all logits at once, in value and in every gradient."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hfrecipes.objectives import linear_cross_entropy as module
from hfrecipes.objectives.linear_cross_entropy import IGNORED, chunked_cross_entropy, linear_cross_entropy

ROWS, WIDTH, VOCABULARY = 23, 8, 37
SETTINGS = list(itertools.product([False, True], [None, 2.5], [1.0, 0.3]))


def inputs(dtype: torch.dtype, biased: bool) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64)
    weight = torch.randn(VOCABULARY, WIDTH, generator=generator, dtype=torch.float64)
    bias = torch.randn(VOCABULARY, generator=generator, dtype=torch.float64) if biased else None
    targets = torch.randint(VOCABULARY, (ROWS,), generator=generator)
    targets[[0, 5, 6, ROWS - 1]] = IGNORED
    counts = torch.rand(ROWS, generator=generator, dtype=torch.float64)
    parts = [None if part is None else part.to(dtype).requires_grad_() for part in (hidden, weight, bias, counts)]
    return parts[0], parts[1], parts[2], targets, parts[3]


def naive(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    counts: Tensor,
    softcap: float | None,
    scale: float,
) -> tuple[Tensor, Tensor]:
    logits = scale * (hidden @ weight.T + (0 if bias is None else bias))
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    losses = functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
    return (losses * counts).sum(), losses


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_LOGITS", 4 * VOCABULARY)


@pytest.mark.parametrize(("biased", "softcap", "scale"), SETTINGS)
def test_loss_and_gradients_are_those_of_all_logits_at_once(biased: bool, softcap: float | None, scale: float) -> None:
    hidden, weight, bias, targets, counts = inputs(torch.float64, biased)
    leaves = [leaf for leaf in (hidden, weight, bias, counts) if leaf is not None]
    loss, losses = linear_cross_entropy(hidden, weight, targets, counts, bias=bias, softcap=softcap, scale=scale)
    expected, each = naive(hidden, weight, bias, targets, counts, softcap, scale)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(losses, each.detach())
    # Another factor than 1 reaches the loss, as gradient accumulation and scalers bring it.
    for got, wanted in zip(
        torch.autograd.grad(0.25 * loss, leaves), torch.autograd.grad(0.25 * expected, leaves), strict=True
    ):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize(("biased", "softcap", "scale"), SETTINGS)
def test_a_function_that_gives_logits_does_as_well(biased: bool, softcap: float | None, scale: float) -> None:
    hidden, weight, bias, targets, counts = inputs(torch.float64, biased)

    def logits(part: Tensor) -> Tensor:
        raw = scale * functional.linear(part, weight, bias)
        return raw if softcap is None else softcap * torch.tanh(raw / softcap)

    leaves = [leaf for leaf in (hidden, weight, bias) if leaf is not None]
    loss, losses = chunked_cross_entropy(hidden, logits, targets, counts)
    expected, each = naive(hidden, weight, bias, targets, counts, softcap, scale)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(losses, each.detach())
    for got, wanted in zip(torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_coarser_types_lose_no_more_than_their_own_rounding(dtype: torch.dtype, tolerance: float) -> None:
    hidden, weight, bias, targets, counts = inputs(dtype, True)
    loss, _ = linear_cross_entropy(hidden, weight, targets, counts, bias=bias, softcap=3.0)
    exact = [leaf.detach().double().requires_grad_() for leaf in (hidden, weight, bias)]
    expected, _ = naive(*exact, targets, counts.detach().double(), 3.0, 1.0)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(expected), rel=tolerance)
    got, wanted = torch.autograd.grad(loss, [hidden, weight, bias]), torch.autograd.grad(expected, exact)
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == dtype
        assert float((one.double() - other).norm() / other.norm()) < tolerance


@pytest.mark.parametrize("halved", [False, True])
def test_under_autocast_products_are_coarse_and_gradients_keep_their_types(halved: bool) -> None:
    hidden, weight, bias, targets, counts = inputs(torch.float32, True)
    # What comes out of a layer under autocast is of its type already, but for norms with weights in float32.
    given = hidden.to(torch.bfloat16) if halved else hidden
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = linear_cross_entropy(given, weight, targets, counts, bias=bias)
        loss.backward()
    found = [leaf.grad for leaf in (hidden, weight, bias, counts)]
    exact = [
        None if leaf is None else leaf.detach().double().requires_grad_() for leaf in (hidden, weight, bias, counts)
    ]
    expected, _ = naive(exact[0], exact[1], exact[2], targets, exact[3], None, 1.0)
    expected.backward()
    assert loss.dtype == torch.float32 and float(loss) == pytest.approx(float(expected), rel=1e-2)
    for got, leaf in zip(found, exact, strict=True):
        assert got.dtype == torch.float32
        assert float((got - leaf.grad).norm() / leaf.grad.norm()) < 2e-2


def test_only_the_gradients_that_are_wanted_are_kept() -> None:
    hidden, weight, bias, targets, counts = inputs(torch.float32, True)
    loss, _ = linear_cross_entropy(hidden, weight.detach(), targets, counts.detach(), bias=bias.detach())
    kept = [tensor for tensor in loss.grad_fn.saved_tensors if tensor is not None]
    assert sorted(tuple(tensor.shape) for tensor in kept) == [(ROWS,), (ROWS, WIDTH)]
    with torch.no_grad():
        assert linear_cross_entropy(hidden, weight, targets, counts)[0].grad_fn is None


def test_rows_without_a_target_alone_cost_nothing() -> None:
    hidden, weight, _, targets, counts = inputs(torch.float32, False)
    loss, losses = linear_cross_entropy(hidden, weight, torch.full_like(targets, IGNORED), counts)
    assert loss == 0
    assert not losses.any()
    by_hidden, by_weight = torch.autograd.grad(loss, [hidden, weight])
    assert not by_hidden.any()
    assert not by_weight.any()


def test_a_second_backward_pass_is_refused() -> None:
    hidden, weight, _, targets, counts = inputs(torch.float32, False)
    loss, _ = linear_cross_entropy(hidden, weight, targets, counts)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
