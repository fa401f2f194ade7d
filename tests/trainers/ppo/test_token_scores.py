"""Log-probabilities without all logits, against those with them."""

from __future__ import annotations

import pytest
import torch

from hfrecipes.trainers.ppo import token_scores
from hfrecipes.trainers.ppo.token_scores import chunked_token_scores, linear_token_scores

TOKENS, WIDTH, VOCABULARY = 30, 8, 50


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_scores, "_CHUNK_LOGITS", 7 * VOCABULARY)
    monkeypatch.setattr(token_scores, "_CHUNK_ROWS", 1)


def plainly(hidden, weight, bias, tokens, softcap, scale, temperature):
    logits = (hidden @ weight.T + (0 if bias is None else bias)) * scale
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    logps = (logits / temperature).log_softmax(1)
    return logps.gather(1, tokens[:, None])[:, 0], -(logps.exp() * logps).sum(1)


@pytest.mark.parametrize("widths", [1, 8])
@pytest.mark.parametrize("trains", ["hidden", "weight", "both"])
@pytest.mark.parametrize(
    ("bias", "softcap", "scale", "temperature"),
    [(False, None, 1.0, 1.0), (True, None, 0.5, 0.7), (True, 3.0, 2.0, 1.3)],
)
def test_values_and_gradients_are_those_of_a_log_softmax(
    trains: str,
    bias: bool,
    softcap: float | None,
    scale: float,
    temperature: float,
    widths: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With derivatives by the logits kept, and without."""
    monkeypatch.setattr(token_scores, "_KEPT_WIDTHS", widths)
    torch.manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, dtype=torch.float64, requires_grad=trains != "weight")
    weight = torch.randn(VOCABULARY, WIDTH, dtype=torch.float64, requires_grad=trains != "hidden")
    offsets = torch.randn(VOCABULARY, dtype=torch.float64, requires_grad=trains != "hidden") if bias else None
    tokens, by_logps = torch.randint(VOCABULARY, (TOKENS,)), torch.randn(TOKENS, dtype=torch.float64)
    inputs = [part for part in (hidden, weight, offsets) if part is not None and part.requires_grad]
    found = linear_token_scores(
        hidden, weight, tokens, bias=offsets, softcap=softcap, scale=scale, temperature=temperature
    )
    expected = plainly(hidden, weight, offsets, tokens, softcap, scale, temperature)
    slopes, plain_slopes = (torch.autograd.grad((logps * by_logps).sum(), inputs) for logps in (found[0], expected[0]))
    assert torch.allclose(found[0], expected[0], atol=1e-12)
    assert torch.allclose(found[1], expected[1], atol=1e-12)
    assert all(torch.allclose(one, other, atol=1e-10) for one, other in zip(slopes, plain_slopes, strict=True))


def test_a_function_of_logits_gives_the_same() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(WIDTH, VOCABULARY, dtype=torch.float64)
    hidden = torch.randn(TOKENS, WIDTH, dtype=torch.float64, requires_grad=True)
    tokens = torch.randint(VOCABULARY, (TOKENS,))
    inputs = [hidden, *layer.parameters()]
    logps, entropies = chunked_token_scores(hidden, layer, tokens, 0.7)
    expected = plainly(hidden, layer.weight, layer.bias, tokens, None, 1.0, 0.7)
    slopes, plain_slopes = (torch.autograd.grad(each.square().sum(), inputs) for each in (logps, expected[0]))
    assert torch.allclose(logps, expected[0]) and torch.allclose(entropies, expected[1])
    assert all(torch.allclose(one, other) for one, other in zip(slopes, plain_slopes, strict=True))


def test_what_is_kept_is_of_the_size_of_the_hidden_states() -> None:
    weight, tokens = torch.randn(VOCABULARY, WIDTH), torch.randint(VOCABULARY, (TOKENS,))
    assert _kept(weight, tokens) == TOKENS * WIDTH
    weight.requires_grad_()
    # A small vocabulary's derivatives by its logits, too.
    assert _kept(weight, tokens) == TOKENS * (2 * WIDTH + 1 + VOCABULARY) + weight.numel()
    large, tokens = torch.randn(9 * WIDTH, WIDTH, requires_grad=True), torch.randint(9 * WIDTH, (TOKENS,))
    assert _kept(large, tokens) == TOKENS * (2 * WIDTH + 1) + large.numel()


def _kept(weight: torch.Tensor, tokens: torch.Tensor) -> int:
    """Numbers that are held for the gradient."""
    kept: list[int] = []
    hidden = torch.randn(TOKENS, WIDTH, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: kept.append(saved.numel()) or saved, lambda held: held):
        linear_token_scores(hidden, weight, tokens)
    return sum(kept)


def test_half_precision_is_summed_in_single() -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(TOKENS, WIDTH).bfloat16(), torch.randn(VOCABULARY, WIDTH).bfloat16()
    tokens = torch.randint(VOCABULARY, (TOKENS,))
    logps, entropies = linear_token_scores(hidden.requires_grad_(), weight, tokens)
    assert logps.dtype == entropies.dtype == torch.float32
    assert torch.allclose(logps, plainly(hidden.float(), weight.float(), None, tokens, None, 1.0, 1.0)[0], atol=0.05)
    logps.sum().backward()
    assert hidden.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("widths", [1, 8])
def test_the_gradient_of_a_matrix_in_half_precision_is_that_of_a_fine_one(
    widths: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_scores, "_KEPT_WIDTHS", widths)
    torch.manual_seed(0)
    hidden, weight = torch.randn(TOKENS, WIDTH).bfloat16(), torch.randn(VOCABULARY, WIDTH).bfloat16()
    tokens, by_logps = torch.randint(VOCABULARY, (TOKENS,)), torch.randn(TOKENS)
    fine = weight.float().requires_grad_()
    (plainly(hidden.float(), fine, None, tokens, None, 1.0, 1.0)[0] * by_logps).sum().backward()
    (linear_token_scores(hidden.requires_grad_(), weight.requires_grad_(), tokens)[0] * by_logps).sum().backward()
    assert torch.allclose(weight.grad.float(), fine.grad, atol=0.02 * float(fine.grad.abs().max()))
