"""A task metric of a model: prompts in, answers scored, the mean with its interval out."""

from __future__ import annotations

import random
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from hfrecipes.evaluation.few_shot import few_shot_prompts
from hfrecipes.evaluation.generation import generate_texts, max_prompt_tokens
from hfrecipes.evaluation.prompts import Prompt, show_prompt, split_example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_MAX_NEW_TOKENS = 64
# Base and tuned are measured on the same rows with the same shots, in every run.
SEED = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote to one prompt.

    Args:
        prompt: Of the example, without the shots.
        reference: What it should have written.
        text: What it wrote.
        family: Of the task, where the data says it.
        kind: What the example teaches: refusal, clarification, chain_of_thought …, where the data says it.
    """

    prompt: Prompt
    reference: str
    text: str
    family: str | None = None
    kind: str | None = None

    @property
    def sample(self) -> dict[str, str]:
        """For a reader, as it stands in run.json."""
        return {"prompt": show_prompt(self.prompt), "completion": self.text, "reference": self.reference}


def answer_task(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[dict[str, Any]],
    shots_pool: Sequence[dict[str, Any]] | None,
    settings: Mapping[str, Any],
    batch_size: int = 8,
) -> tuple[list[Answer], int]:
    """Lets a model answer a task's prompts greedily.

    Args:
        model: A causal language model of transformers, or a `PeftModel` around one.
        tokenizer: The transformers tokenizer with which base and tuned model are both asked.
        examples: TRL's types with a reference in them: prompt and completion, or messages.
        shots_pool: Training examples of which `settings["num_shots"]` stand before each prompt; None for no shots.
        settings: The recipe's `evaluation.task`: `num_rows` (a fixed draw of as many, evenly over families; all by default),
            `num_shots`, `max_new_tokens`.
        batch_size: Prompts per batch of generation.

    Returns:
        The answers, in the order of the examples; and how many prompts did not fit the context, for which a warning says so.

    Raises:
        ValueError: where there are no examples, one has no reference, or no prompt fits the context.
    """
    chosen = draw_evenly(examples, settings.get("num_rows"))
    max_new_tokens = settings.get("max_new_tokens", DEFAULT_MAX_NEW_TOKENS)
    pairs = [split_example(example, f"example {number}") for number, example in enumerate(chosen)]
    prompts = [prompt for prompt, _ in pairs]
    num_shots = settings.get("num_shots", 0)
    if shots_pool is not None and num_shots:
        room = max_prompt_tokens(model, max_new_tokens)
        prompts = _with_shots(chosen, shots_pool, num_shots, tokenizer, room)
    texts = generate_texts(model, tokenizer, prompts, max_new_tokens, batch_size)
    answers = [
        Answer(prompt, reference, text, example.get("family"), example.get("kind"))
        for example, (prompt, reference), text in zip(chosen, pairs, texts, strict=True)
        if text is not None
    ]
    if not answers:
        raise ValueError(f"no prompt leaves room for {max_new_tokens} new tokens: lower evaluation.task.max_new_tokens")
    if len(answers) < len(texts):
        left_out = len(texts) - len(answers)
        warnings.warn(f"{left_out} of {len(texts)} prompts were too long and left out", stacklevel=2)
    return answers, len(texts) - len(answers)


def draw_evenly(examples: Sequence[dict[str, Any]], num_rows: int | None) -> list[dict[str, Any]]:
    """`num_rows` examples in their order, the same for every model, and of each family as many as the others have.

    Raises:
        ValueError: where there are none.
    """
    if len(examples) == 0:
        raise ValueError("a task needs at least one example")
    if num_rows is None or num_rows >= len(examples):
        return list(examples)
    rows_of: dict[Any, list[int]] = defaultdict(list)
    for row, example in enumerate(examples):
        rows_of[example.get("family")].append(row)
    chosen: list[int] = []
    generator = random.Random(SEED)
    # The smallest first: what they lack, the larger ones give.
    for left, rows in zip(range(len(rows_of), 0, -1), sorted(rows_of.values(), key=len), strict=True):
        share = (num_rows - len(chosen)) // left
        chosen += generator.sample(rows, min(share, len(rows)))
    return [examples[row] for row in sorted(chosen)]


def _with_shots(
    examples: list[dict[str, Any]],
    pool: Sequence[dict[str, Any]],
    num_shots: int,
    tokenizer: PreTrainedTokenizerBase,
    room: int | None,
) -> list[Prompt]:
    shot = few_shot_prompts(examples, pool, num_shots, SEED, tokenizer, room)
    short = sum(prompt.num_shots < num_shots for prompt in shot)
    if short:
        warnings.warn(f"{short} of {len(shot)} prompts had room for fewer than {num_shots} examples", stacklevel=3)
    return [prompt.prompt for prompt in shot]
