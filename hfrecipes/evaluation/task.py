"""A task metric of a model: prompts in, answers scored, the mean with its interval out."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from hfrecipes.evaluation.few_shot import few_shot_prompts
from hfrecipes.evaluation.generation import generate_texts, max_prompt_tokens
from hfrecipes.evaluation.intervals import Estimate, bootstrap_interval, proportion_interval
from hfrecipes.evaluation.metrics import TaskMetric
from hfrecipes.evaluation.prompts import Prompt, show_prompt, split_example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_MAX_NEW_TOKENS = 64
# Base and tuned are measured on the same rows with the same shots, in every run.
SEED = 0


def measure_task(
    model: torch.nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[dict[str, Any]],
    shots_pool: Sequence[dict[str, Any]] | None,
    settings: Mapping[str, Any],
    metric: TaskMetric,
    *,
    step: int = 0,
    num_samples: int = 4,
    batch_size: int = 8,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Lets a model answer a task's prompts greedily, and scores what it says.

    Args:
        model: A causal language model of transformers, or a `PeftModel` around one.
        tokenizer: The transformers tokenizer with which base and tuned model are both asked.
        examples: TRL's types with a reference in them: prompt and completion, or messages.
        shots_pool: Training examples of which `settings["num_shots"]` stand before each prompt; None for no shots.
        settings: The recipe's `evaluation.task`: `num_rows` (a fixed draw of as many; all by default), `num_shots`,
            `max_new_tokens`.
        metric: From `load_metric`.
        step: Optimizer step at which the model is measured.
        num_samples: Answers to return for a reader.
        batch_size: Prompts per batch of generation.

    Returns:
        Entries of run.json's `evaluations` and `samples`, without the keys `model` and `dataset`, which the caller
        knows. An entry counts in `skipped` the prompts that did not fit the context, where there are any.

    Raises:
        ValueError: where there are no examples, one has no reference, or no prompt fits the context.
    """
    chosen = _draw(examples, settings.get("num_rows"))
    max_new_tokens = settings.get("max_new_tokens", DEFAULT_MAX_NEW_TOKENS)
    pairs = [split_example(example, f"example {number}") for number, example in enumerate(chosen)]
    prompts = [prompt for prompt, _ in pairs]
    num_shots = settings.get("num_shots", 0)
    if shots_pool is not None and num_shots:
        room = max_prompt_tokens(model, max_new_tokens)
        prompts = _with_shots(chosen, shots_pool, num_shots, tokenizer, room)
    answers = generate_texts(model, tokenizer, prompts, max_new_tokens, batch_size)
    answered = [row for row, answer in enumerate(answers) if answer is not None]
    skipped = len(answers) - len(answered)
    if not answered:
        raise ValueError(f"no prompt leaves room for {max_new_tokens} new tokens: lower evaluation.task.max_new_tokens")
    predictions = [answers[row] for row in answered]
    estimate = _estimate(metric, predictions, [pairs[row][1] for row in answered])
    entry = {"metric": metric.name, "value": estimate.value, "low": estimate.low, "high": estimate.high}
    entry |= {"n": estimate.n, "unit": metric.unit, "higher_is_better": metric.higher_is_better, "step": step}
    if skipped:
        warnings.warn(f"{metric.name}: {skipped} of {len(answers)} prompts were too long and left out", stacklevel=2)
        entry["skipped"] = skipped
    samples = [_sample(*pairs[row], answers[row]) for row in answered[:num_samples]]
    return [entry], samples


def _draw(examples: Sequence[dict[str, Any]], num_rows: int | None) -> list[dict[str, Any]]:
    """`num_rows` examples in their order, the same for every model."""
    if len(examples) == 0:
        raise ValueError("a task needs at least one example")
    if num_rows is None or num_rows >= len(examples):
        return list(examples)
    return [examples[row] for row in sorted(random.Random(SEED).sample(range(len(examples)), num_rows))]


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


def _estimate(metric: TaskMetric, predictions: list[str], references: list[str]) -> Estimate:
    scores = metric.score_rows(predictions, references)
    # The bootstrap of rows that all agree has no width, which would claim certainty.
    if metric.bounded and set(scores) <= {0.0, 1.0}:
        return proportion_interval(int(sum(scores)), len(scores))
    return bootstrap_interval(scores)


def _sample(prompt: Prompt, reference: str, completion: str) -> dict[str, str]:
    return {"prompt": show_prompt(prompt), "completion": completion, "reference": reference}
