"""Sampling completions with `model.generate`, for those who give it keywords of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from hfrecipes.trainers.ppo.scores import response_lengths

if TYPE_CHECKING:
    from hfrecipes.trainers.ppo.sampling import Sampling


def generate(
    model: Any, ids: Tensor, mask: Tensor, uniforms: Tensor, sampling: Sampling
) -> tuple[Tensor, Tensor, Tensor]:
    """Completions of a batch, drawn by `model.generate`; its random numbers are decided by the first of the uniform ones.

    Args:
        model: A causal language model in evaluation mode, without gradients.
        ids: `(rows, tokens)`, every prompt at the right edge.
        mask: Of the same shape: 0 at padding.
        uniforms: `(rows, length)`.
        sampling: How they are drawn.

    Returns:
        Tokens `(rows, length)`, lengths `(rows,)`, and whether each ended, `(rows,)`.
    """
    words = {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        # What the model's own generation_config says would take the samples off the policy.
        "repetition_penalty": 1.0,
        "max_new_tokens": sampling.length,
        "pad_token_id": sampling.pad_id,
        "eos_token_id": list(sampling.stop_ids) or None,
        **(sampling.generate or {}),
    }
    settings = {word: value for word, value in words.items() if hasattr(GenerationConfig(), word)}
    rest = {word: value for word, value in words.items() if word not in settings}
    if sampling.stop_strings is not None:
        rest["stopping_criteria"] = [*rest.get("stopping_criteria", []), sampling.stop_strings.behind(ids.shape[1])]
    devices = [ids.device] if ids.device.type == "cuda" else []
    with torch.random.fork_rng(devices), _own_stops(model, sampling):
        torch.manual_seed(int(float(uniforms[0, 0]) * 2**24))
        made = model.generate(
            input_ids=ids, attention_mask=mask, generation_config=GenerationConfig(**settings), **rest
        )
    made = made[:, ids.shape[1] :]
    tokens = ids.new_full((len(ids), sampling.length), sampling.pad_id)
    tokens[:, : made.shape[1]] = made
    return _ends(tokens, sampling)


def _ends(tokens: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    stop_ids = torch.tensor(sampling.stop_ids, dtype=torch.int64, device=tokens.device)
    lengths, finished = response_lengths(tokens, stop_ids)
    if sampling.stop_strings is not None:
        for step in range(tokens.shape[1]):
            ended = sampling.stop_strings(tokens[:, : step + 1]) & (step < lengths)
            # Later ends of the same row are no ends any more.
            lengths, finished = torch.where(ended, step + 1, lengths), finished | ended
    places = torch.arange(tokens.shape[1], device=tokens.device)
    return torch.where(places < lengths[:, None], tokens, sampling.pad_id), lengths, finished


@contextlib.contextmanager
def _own_stops(model: Any, sampling: Sampling) -> Iterator[None]:
    """The model's own end tokens stop nothing unless they are asked for: `generate` falls back on them."""
    config = getattr(model, "generation_config", None)
    before = getattr(config, "eos_token_id", None)
    if config is not None:
        config.eos_token_id = list(sampling.stop_ids) or None
    try:
        yield
    finally:
        if config is not None:
            config.eos_token_id = before
