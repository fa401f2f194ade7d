"""How far one model's distribution over next tokens is from another's."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hfrecipes.evaluation.generation import generate_batch, generation_config, max_prompt_tokens, seeded
from hfrecipes.evaluation.intervals import bootstrap_interval
from hfrecipes.evaluation.prompts import Prompt, prompt_ids
from hfrecipes.models.mode import eval_mode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Bound on one block of float32 log-probabilities.
BLOCK_BYTES = 2**27


@dataclass(frozen=True, slots=True)
class Divergence:
    """KL(model ‖ base) over completions that the model drew, in nats, summed over the tokens of each; shape (prompts,) each.

    Args:
        exact: Over the whole vocabulary at each token.
        k1: `log p - log q` of the drawn tokens: unbiased, and below zero for some.
        k3: `q/p - 1 - log q/p` of the drawn tokens: unbiased, never below zero (Schulman 2020, "Approximating KL Divergence").
        num_tokens: Drawn tokens, the one that ends a completion included.
    """

    exact: np.ndarray
    k1: np.ndarray
    k3: np.ndarray
    num_tokens: np.ndarray


def token_kl(logits: torch.Tensor, base_logits: torch.Tensor, block_bytes: int = BLOCK_BYTES) -> torch.Tensor:
    """KL(p ‖ q) at each position, over the whole vocabulary, in nats.

    Args:
        logits: Of p, shape (positions, vocabulary), any dtype.
        base_logits: Of q, the same shape.
        block_bytes: Positions are taken in blocks whose float32 log-probabilities fill no more than this.

    Returns:
        Float32, shape (positions,).
    """
    rows = max(1, block_bytes // (4 * logits.shape[-1]))
    found = []
    for block, base_block in zip(logits.split(rows), base_logits.split(rows), strict=True):
        log_p, log_q = block.float().log_softmax(-1), base_block.float().log_softmax(-1)
        # Where p is 0, so is its part, whatever q is.
        found.append(torch.where(log_p.isneginf(), 0.0, log_p.exp() * (log_p - log_q)).sum(-1))
    return torch.cat(found) if found else logits.new_zeros(0, dtype=torch.float32)


def k1(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Estimate of KL(p ‖ q) at each token drawn from p, from its log-probabilities; of any shape."""
    return log_p - log_q


def k3(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """As `k1`, with less variance and never below zero."""
    ratio = log_q - log_p
    return ratio.expm1() - ratio


def measure_kl(
    model: torch.nn.Module,
    base: torch.nn.Module | None,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    batch_size: int = 8,
    seed: int = 0,
) -> Divergence:
    """Draws a completion of each prompt from the model itself (temperature 1, nothing cut off), and compares both on it.

    Args:
        model: A causal language model of transformers, or a `PeftModel` around one.
        base: What it started from; None where that is the same weights with the adapter off.
        tokenizer: Both models' tokenizer.
        prompts: Held-out texts to continue, or conversations.
        max_new_tokens: Length at which a completion is cut.
        batch_size: Prompts per batch of drawing.
        seed: Of the drawing.

    Returns:
        Rows of zeros, with no token, for prompts that leave no room for a completion.

    Raises:
        ValueError: as `prompt_ids`.
    """
    ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    answers = _draw(model, tokenizer, prompts, ids, max_new_tokens, batch_size, seed)
    sums = np.zeros((4, len(prompts)))
    for row, answer in answers.items():
        if answer:
            sums[:, row] = _compare(model, base, ids[row] + answer, len(answer))
    return Divergence(*sums[:3], sums[3].astype(np.int64))


def kl_of_completions(
    model: torch.nn.Module,
    base: torch.nn.Module | None,
    rows: Sequence[tuple[Sequence[int], Sequence[int]]],
    temperature: float = 1.0,
) -> Divergence:
    """As `measure_kl`, of completions that the model has drawn before.

    Args:
        model: Which drew them.
        base: What it started from; None where that is the same weights with the adapter off.
        rows: Tokens of each prompt, and of its completion.
        temperature: At which they were drawn; both models' logits are divided by it.
    """
    sums = np.zeros((4, len(rows)))
    for row, (prompt, answer) in enumerate(rows):
        if len(answer):
            sums[:, row] = _compare(model, base, [*prompt, *answer], len(answer), temperature)
    return Divergence(*sums[:3], sums[3].astype(np.int64))


def kl_estimates(found: Divergence, step: int = 0) -> list[dict[str, Any]]:
    """KL per token by all three ways, and of whole completions, each with its 95 % interval over prompts.

    Args:
        found: From `measure_kl`.
        step: Optimizer step at which the model was measured.

    Returns:
        Entries of run.json's `evaluations`, for the caller to add `model` and `dataset` to.

    Raises:
        ValueError: where no completion has a token.
    """
    counted = found.num_tokens > 0
    tokens = found.num_tokens[counted]
    if not len(tokens):
        raise ValueError("no completion has a token: the prompts leave no room, or the model ends at once")
    figures = [
        ("kl_from_base", "nats/token", bootstrap_interval(found.exact[counted], tokens)),
        ("kl_from_base_k1", "nats/token", bootstrap_interval(found.k1[counted], tokens)),
        ("kl_from_base_k3", "nats/token", bootstrap_interval(found.k3[counted], tokens)),
        ("kl_from_base_per_completion", "nats", bootstrap_interval(found.exact[counted])),
    ]
    return [
        {"metric": metric, **asdict(figure), "unit": unit, "higher_is_better": False, "step": step}
        for metric, unit, figure in figures
    ]


def last_logits(model: torch.nn.Module, ids: Sequence[int], count: int) -> torch.Tensor:
    """Logits of the last positions of one row of tokens, shape (count, vocabulary); the model is in eval mode."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    # Without it, all positions' logits are built and most thrown away.
    keeps = "logits_to_keep" in inspect.signature(inner.forward).parameters
    row = torch.tensor([list(ids)], device=next(model.parameters()).device)
    words = {"logits_to_keep": count} if keeps else {}
    return model(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False, **words).logits[0, -count:]


def _draw(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    ids: list[list[int]],
    max_new_tokens: int,
    batch_size: int,
    seed: int,
) -> dict[int, list[int]]:
    """Drawn tokens of each prompt that leaves room for them, by its place."""
    room = max_prompt_tokens(model, max_new_tokens)
    fitting = [row for row, tokens in enumerate(ids) if room is None or len(tokens) <= room]
    fitting.sort(key=lambda row: len(ids[row]))
    conversation = any(not isinstance(prompt, str) for prompt in prompts)
    config = generation_config(model, tokenizer, conversation, max_new_tokens, True, 1.0)
    # The distribution that is compared, and no part of it.
    config.update(top_k=0, top_p=1.0, repetition_penalty=1.0)
    answers = {}
    with eval_mode(model), seeded(seed):
        for start in range(0, len(fitting), batch_size):
            rows = fitting[start : start + batch_size]
            drawn = generate_batch(model, [ids[row] for row in rows], config, keep_stop=True)
            answers |= dict(zip(rows, drawn, strict=True))
    return answers


def _compare(
    model: torch.nn.Module, base: torch.nn.Module | None, ids: list[int], count: int, temperature: float = 1.0
) -> tuple[float, float, float, int]:
    """Exact KL, k1 and k3 summed over the last tokens of a row, and their number."""
    with eval_mode(model):
        logits = last_logits(model, ids, count + 1)[:-1]
    asked = model if base is None else base
    with eval_mode(asked), model.disable_adapter() if base is None else nullcontext():
        base_logits = last_logits(asked, ids, count + 1)[:-1].to(logits.device)
    logits, base_logits = logits / temperature, base_logits / temperature
    drawn = torch.tensor(ids[-count:], device=logits.device)
    log_p, log_q = _log_probabilities(logits, drawn), _log_probabilities(base_logits, drawn)
    figures = (token_kl(logits, base_logits), k1(log_p, log_q), k3(log_p, log_q))
    exact, first, third = (figure.double().sum().item() for figure in figures)
    return exact, first, third, count


def _log_probabilities(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return -torch.nn.functional.cross_entropy(logits.float(), tokens, reduction="none")
