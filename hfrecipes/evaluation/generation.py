"""Answers of a model to many prompts, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from hfrecipes.evaluation.prompts import Prompt, end_of_turn_ids, prompt_ids
from hfrecipes.models.mode import eval_mode

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase


def generate_texts(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    batch_size: int = 8,
    do_sample: bool = False,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[str | None]:
    """Lets a model answer prompts, and returns what it wrote after each.

    Args:
        model: A causal language model of transformers, or a `PeftModel` around one.
        tokenizer: Its transformers tokenizer.
        prompts: Texts to continue, or conversations, which the chat template renders.
        max_new_tokens: Length at which an answer is cut where the model does not end it.
        batch_size: Prompts per batch; they are sorted by length, and padded on the left.
        do_sample: Draw tokens, under the model's own `top_k` and `top_p`; by default the likeliest is taken.
        temperature: Of the drawing.
        seed: Of the drawing.

    Returns:
        One text per prompt, without special tokens; None where a prompt leaves no room for `max_new_tokens` in the
        model's context. Such a prompt is skipped, since cutting it would ask another question.

    Raises:
        ValueError: as `prompt_ids`.
    """
    ids = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    room = max_prompt_tokens(model, max_new_tokens)
    fitting = [index for index, tokens in enumerate(ids) if room is None or len(tokens) <= room]
    fitting.sort(key=lambda index: len(ids[index]))
    conversation = any(not isinstance(prompt, str) for prompt in prompts)
    config = generation_config(model, tokenizer, conversation, max_new_tokens, do_sample, temperature)
    texts: list[str | None] = [None] * len(ids)
    with eval_mode(model), seeded(seed):
        for start in range(0, len(fitting), batch_size):
            rows = fitting[start : start + batch_size]
            answers = generate_batch(model, [ids[row] for row in rows], config)
            for row, text in zip(rows, tokenizer.batch_decode(answers, skip_special_tokens=True), strict=True):
                texts[row] = text
    return texts


def max_prompt_tokens(model: torch.nn.Module, max_new_tokens: int) -> int | None:
    """Longest prompt that leaves room for an answer; None for a model without a bound on its context."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if context is None else context - max_new_tokens


def generation_config(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    conversation: bool,
    max_new_tokens: int,
    do_sample: bool,
    temperature: float,
) -> GenerationConfig:
    """How to generate. What is not named here comes from the model's own generation config."""
    from transformers import GenerationConfig

    stops = _stop_ids(model, tokenizer, conversation)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else next(iter(stops), 0)
    settings: dict[str, Any] = {
        "max_new_tokens": max_new_tokens,
        "eos_token_id": stops or None,
        "pad_token_id": pad,
        "do_sample": do_sample,
        "num_beams": 1,
        # Activation checkpointing turns the cache off in the model's config.
        "use_cache": True,
    }
    if do_sample:
        return GenerationConfig(temperature=temperature, **settings)
    # The likeliest token as the model sees it: no penalty of its generation config, and no sampling words beside greedy.
    return GenerationConfig(temperature=1.0, top_p=1.0, top_k=50, repetition_penalty=1.0, **settings)


def _stop_ids(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, conversation: bool) -> list[int]:
    own = model.generation_config.eos_token_id
    stops = set(own) if isinstance(own, list | tuple) else {own}
    stops.add(tokenizer.eos_token_id)
    if conversation:
        stops |= end_of_turn_ids(tokenizer)
    return sorted(stops - {None})


def generate_batch(
    model: torch.nn.Module, prompts: list[list[int]], config: GenerationConfig, keep_stop: bool = False
) -> list[list[int]]:
    """New tokens of each prompt, without the token that stopped it and the padding behind.

    Args:
        model: A causal language model, in eval mode.
        prompts: Tokens of each; they are padded on the left to one length.
        config: From `generation_config`.
        keep_stop: Give the token that stopped an answer, too, as its last.
    """
    width = max(len(tokens) for tokens in prompts)
    device = next(model.parameters()).device
    padded = [[config.pad_token_id] * (width - len(tokens)) + tokens for tokens in prompts]
    mask = [[0] * (width - len(tokens)) + [1] * len(tokens) for tokens in prompts]
    output = model.generate(
        input_ids=torch.tensor(padded, device=device),
        attention_mask=torch.tensor(mask, device=device),
        generation_config=config,
    )
    stops = set(config.eos_token_id or ())
    answers = []
    for row in output[:, width:].tolist():
        end = next((place for place, token in enumerate(row) if token in stops), len(row))
        answers.append(row[: end + 1 if keep_stop else end])
    return answers


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws from `seed` inside, and leaves the random state outside as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
