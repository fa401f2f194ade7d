"""Prompts with worked examples in front, by which a base model shows what it can do untuned."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hfrecipes.evaluation.prompts import Message, Prompt, prompt_ids, split_example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Training examples that are looked at, at most, in search of short ones.
MAX_CANDIDATES = 512
# Between plain-text examples.
SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class FewShotPrompt:
    """A prompt, and how many examples found room in it."""

    prompt: Prompt
    num_shots: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    prompt: Prompt
    reference: str
    num_tokens: int


def few_shot_prompts(
    test_examples: Sequence[dict[str, Any]],
    train_examples: Sequence[dict[str, Any]],
    num_shots: int,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int | None = None,
) -> list[FewShotPrompt]:
    """Puts examples from the training set before each test prompt: as earlier turns, or as text above it.

    Each prompt has its own draw of examples, which depends on the seed and the prompt's number only. An example is
    passed over where it is the test prompt itself, or takes more than its share of the room that is left; so prompts
    are equal in shots before they are equal in length. Where too few are short enough, the prompt has fewer.

    Args:
        test_examples: TRL's types, as `split_example` takes them.
        train_examples: The pool to draw from.
        num_shots: Examples per prompt.
        seed: Of the draw.
        tokenizer: The transformers tokenizer whose chat template renders the prompts.
        max_prompt_tokens: Room for the whole prompt; None for no bound.

    Raises:
        ValueError: where an example is no task, or the pool holds none of the kind (conversation or text) asked for.
    """
    candidates = _candidates(train_examples, seed, tokenizer)
    prompts = []
    for number, example in enumerate(test_examples):
        prompt, _ = split_example(example, f"test example {number}")
        alike = [shot for shot in candidates if isinstance(shot.prompt, str) == isinstance(prompt, str)]
        if num_shots and not alike:
            kind = "a text" if isinstance(prompt, str) else "a conversation"
            raise ValueError(f"test example {number} is {kind}, and no training example is: no shots to draw from")
        order = random.Random(f"{seed}-{number}").sample(alike, len(alike))
        shots = _choose(order, prompt, num_shots, tokenizer, max_prompt_tokens)
        prompts.append(FewShotPrompt(_join(shots, prompt), len(shots)))
    return prompts


def _candidates(examples: Sequence[dict[str, Any]], seed: int, tokenizer: PreTrainedTokenizerBase) -> list[_Candidate]:
    numbers = random.Random(seed).sample(range(len(examples)), min(len(examples), MAX_CANDIDATES))
    candidates = []
    for number in numbers:
        prompt, reference = split_example(examples[number], f"training example {number}")
        # Alone in a conversation it costs what it does as a turn, or a system prompt more.
        rendered = _join([_Candidate(prompt, reference, 0)], "" if isinstance(prompt, str) else [])
        candidates.append(_Candidate(prompt, reference, len(prompt_ids(tokenizer, rendered))))
    return candidates


def _choose(
    order: list[_Candidate],
    prompt: Prompt,
    num_shots: int,
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int | None,
) -> list[_Candidate]:
    """The first of `order` that fit beside the prompt."""
    shots = list(_short_enough(order, prompt, num_shots, tokenizer, max_prompt_tokens))
    # Tokens can merge differently once joined, and some templates write more into long conversations.
    while (
        shots and max_prompt_tokens is not None and len(prompt_ids(tokenizer, _join(shots, prompt))) > max_prompt_tokens
    ):
        shots.pop()
    return shots


def _short_enough(
    order: list[_Candidate],
    prompt: Prompt,
    num_shots: int,
    tokenizer: PreTrainedTokenizerBase,
    max_prompt_tokens: int | None,
) -> Iterator[_Candidate]:
    room = float("inf") if max_prompt_tokens is None else max_prompt_tokens - len(prompt_ids(tokenizer, prompt))
    wanted = num_shots
    for shot in order:
        if wanted == 0:
            return
        if shot.num_tokens <= room / wanted and shot.prompt != prompt:
            yield shot
            room -= shot.num_tokens
            wanted -= 1


def _join(shots: list[_Candidate], prompt: Prompt) -> Prompt:
    if isinstance(prompt, str):
        return "".join(f"{shot.prompt}{shot.reference}{SEPARATOR}" for shot in shots) + prompt
    system = [message for message in prompt if message["role"] == "system"]
    turns: list[Message] = []
    for shot in shots:
        turns += [message for message in shot.prompt if message["role"] != "system"]
        turns.append({"role": "assistant", "content": shot.reference})
    return system + turns + [message for message in prompt if message["role"] != "system"]
