"""Sampling completions: a loop of few parts, whose every draw is decided by one uniform number."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessorList, TopKLogitsWarper, TopPLogitsWarper

from hfrecipes.trainers.ppo.generating import generate
from hfrecipes.trainers.ppo.stop_strings import StopStrings


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn.

    Args:
        length: Tokens at most.
        temperature: Logits are divided by it.
        pad_id: What stands behind the end; masks say where that is, so it may be a token that also ends completions.
        stop_ids: Tokens that end a completion.
        stop_strings: Texts that end one; None for none.
        top_k: 0 for all tokens.
        top_p: 1 for all tokens.
        generate: Keywords for `model.generate`, which then samples; None for the loop here.
    """

    length: int
    temperature: float
    pad_id: int
    stop_ids: tuple[int, ...] = ()
    stop_strings: StopStrings | None = None
    top_k: int = 0
    top_p: float = 1.0
    generate: dict[str, Any] | None = None

    @property
    def warpers(self) -> LogitsProcessorList:
        made = LogitsProcessorList()
        if self.top_k > 0:
            made.append(TopKLogitsWarper(self.top_k))
        if self.top_p < 1:
            made.append(TopPLogitsWarper(self.top_p))
        return made


def draw_uniforms(seed: int, rollout: int, rows: int, length: int) -> Tensor:
    """The numbers that decide a rollout: `(rows, length)` in [0, 1), the same on every process and after every resume.

    Each row of all processes has its own, so no two processes draw the same completion.
    """
    # One number out of the two; neighbours of either give others.
    mixed = (seed * 0x9E3779B97F4A7C15 + rollout * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % 2**63
    return torch.rand(rows, length, generator=torch.Generator().manual_seed(mixed))


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """One token for each row, by inverting the distribution function.

    Args:
        logits: `(rows, vocabulary)`, minus infinity for tokens that cannot be drawn.
        uniforms: `(rows,)` in [0, 1).
    """
    sums = torch.softmax(logits, 1).cumsum(1)
    total = sums[:, -1:]
    # A product that is rounded up to the total would draw the last token, whatever its probability.
    places = torch.minimum(uniforms[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(sums, places, right=True)[:, 0]


# Is told each draw: rows `(drawn,)`, the step, logits `(drawn, vocabulary)` divided by the temperature, tokens `(drawn,)`.
Note = Callable[[Tensor, int, Tensor, Tensor], None]


def sample_completions(
    model: Any,
    prompts: Sequence[Sequence[int]],
    uniforms: Tensor,
    sampling: Sampling,
    batch_size: int,
    note: Note | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Completions of prompts, in batches of prompts of about the same length.

    Args:
        model: A causal language model in evaluation mode, without gradients.
        prompts: Token ids.
        uniforms: `(rows, length)`.
        sampling: How they are drawn.
        batch_size: Rows at a time.
        note: Is told each draw of the loop here; tokens behind the end of a row are drawn, too.

    Returns:
        Tokens `(rows, length)`, lengths `(rows,)` with the token that ends a completion, and whether it ended, `(rows,)`.
    """
    device = uniforms.device
    tokens = torch.full(uniforms.shape, sampling.pad_id, dtype=torch.int64, device=device)
    lengths = torch.full((len(prompts),), sampling.length, device=device)
    finished = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids, mask = pad_left([prompts[row] for row in rows], sampling.pad_id, device)
        if sampling.generate is None:
            places = torch.tensor(rows, device=device)
            made = _loop(model, ids, mask, uniforms[rows], sampling, places, note)
        else:
            made = generate(model, ids, mask, uniforms[rows], sampling)
        tokens[rows], lengths[rows], finished[rows] = made
    return tokens, lengths, finished


def pad_left(prompts: Sequence[Sequence[int]], pad_id: int, device: Any) -> tuple[Tensor, Tensor]:
    """Ids and mask, `(rows, tokens)`, every prompt at the right edge."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


@dataclass
class _Batch:
    """Rows that are still being written, with their cache.

    Args:
        rows: `(rows,)` where each stands in the whole batch.
        mask: `(rows, prompt + length)`.
        done: `(rows,)` those that have ended and only keep the others company.
    """

    rows: Tensor
    mask: Tensor
    done: Tensor
    cache: DynamicCache
    padded: bool = field(default=True)

    def keep_unfinished(self) -> None:
        """Lets go of rows that ended, once they are half of all: to move the cache costs something, too."""
        if 2 * int(self.done.sum()) < len(self.done):
            return
        kept = (~self.done).nonzero()[:, 0]
        self.cache.batch_select_indices(kept)
        self.rows, self.mask, self.done = self.rows[kept], self.mask[kept], self.done[kept]


def _loop(
    model: Any, ids: Tensor, mask: Tensor, uniforms: Tensor, sampling: Sampling, places: Tensor, note: Note | None
) -> tuple[Tensor, Tensor, Tensor]:
    count, width = ids.shape
    tokens = ids.new_full((count, sampling.length), sampling.pad_id)
    lengths = ids.new_full((count,), sampling.length)
    finished = torch.zeros(count, dtype=torch.bool, device=ids.device)
    stop_ids = torch.tensor(sampling.stop_ids, dtype=torch.int64, device=ids.device)
    padded = not bool(mask.all())
    batch = _Batch(
        torch.arange(count, device=ids.device),
        torch.cat([mask, mask.new_ones(count, sampling.length)], 1),
        finished.clone(),
        DynamicCache(config=model.config.get_text_config(decoder=True)),
        padded,
    )
    words, warpers = _forward_words(model), sampling.warpers
    given, positions = ids, (mask.cumsum(1) - 1).clamp_min(0)
    for step in range(sampling.length):
        inputs: dict[str, Any] = {"position_ids": positions, "logits_to_keep": 1}
        inputs = {word: value for word, value in inputs.items() if word in words}
        if batch.padded:
            inputs["attention_mask"] = batch.mask[:, : width + step]
        logits = model(input_ids=given, past_key_values=batch.cache, use_cache=True, **inputs).logits[:, -1]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / sampling.temperature
        chosen = draw(warpers(given, logits), uniforms[batch.rows, step])
        if note is not None:
            note(places[batch.rows], step, logits, chosen)
        writing = batch.rows[~batch.done]
        tokens[writing, step] = chosen[~batch.done]
        ended = torch.isin(chosen, stop_ids)
        if sampling.stop_strings is not None:
            ended |= sampling.stop_strings(tokens[batch.rows, : step + 1])
        ended &= ~batch.done
        lengths[batch.rows[ended]] = step + 1
        finished[batch.rows[ended]] = True
        batch.done |= ended
        given, positions = chosen[:, None], positions[:, -1:] + 1
        if bool(ended.any()):
            if bool(batch.done.all()):
                break
            kept = ~batch.done if 2 * int(batch.done.sum()) >= len(batch.done) else slice(None)
            given, positions = given[kept], positions[kept]
            batch.keep_unfinished()
    return tokens, lengths, finished


def _forward_words(model: Any) -> frozenset[str]:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(base.forward).parameters)
