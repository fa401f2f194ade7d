"""What recipes of kind `grpo` and `rloo` cannot ask for: numbers that do not divide, and words that nothing comes of."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from hfrecipes.check.preferences import no_reference
from hfrecipes.recipe.adapter_words import leaves_the_base
from hfrecipes.recipe.answer_words import is_referred, num_generations
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.resolve import DEFAULT_MICRO_BATCH
from hfrecipes.recipe.source_list import GROUPED

# TrainingArguments' own default.
_EVAL_BATCH = 8
# Words of TRL's configs, and why they are not for a recipe.
_REFUSED = {
    "sync_ref_model": ("moves the reference, which is in no checkpoint", "remove it, or lower beta"),
    "chat_template_kwargs": ("comes too late: prompts are rendered when the data are prepared", "remove it"),
    "max_tool_calling_iterations": ("has no effect: a recipe has no tools", "remove it"),
}


def group_problems(recipe: Recipe, num_processes: int) -> Iterator[Problem]:
    """Words that contradict each other, or the kind.

    Args:
        recipe: The recipe.
        num_processes: How many it will run in.
    """
    if recipe.kind not in GROUPED:
        return
    for word, (fault, fix) in _REFUSED.items():
        if recipe.get(f"training.{word}"):
            yield Problem(recipe.where(f"training.{word}"), f"training.{word} {fault}", fix)
    if recipe.get("data.mixture") is not None:
        fault = f"data.mixture is for kinds whose rows are read one by one, and kind: {recipe.kind} reads groups"
        yield Problem(recipe.where("data.mixture"), fault, "name the sources in data.train")
    if is_referred(recipe) and recipe.get("quantization") and not leaves_the_base(recipe.get("adapter") or {}):
        yield no_reference(recipe)
    if recipe.get("training.use_vllm") and find_spec("vllm") is None:
        where = recipe.where("training.use_vllm")
        yield Problem(where, "training.use_vllm needs vllm, which is not installed here", "pip install vllm", "warning")
    if recipe.get("training.stop_strings") and recipe.get("training.mask_truncated_completions"):
        fault = "training.mask_truncated_completions takes answers that end at a stop string for ones that were cut"
        yield Problem(recipe.where("training.mask_truncated_completions"), fault, "keep one of the two")
    yield from _division_problems(recipe, num_processes)
    yield from _evaluation_problems(recipe, num_processes)


def _division_problems(recipe: Recipe, num_processes: int) -> Iterator[Problem]:
    drawn, key = recipe.get("training.generation_batch_size"), "training.generation_batch_size"
    steps, micro = (recipe.get(f"training.{word}") for word in ("steps_per_generation", "per_device_train_batch_size"))
    if drawn and steps:
        fault = "training.steps_per_generation stands beside training.generation_batch_size, and each says how many are drawn"
        yield Problem(recipe.where("training.steps_per_generation"), fault, "keep one of them")
        return
    if not drawn and steps and micro:
        drawn, key = steps * micro * num_processes, "training.steps_per_generation"
    elif not drawn and not steps:
        drawn, key = recipe.get("training.global_batch_size"), "training.global_batch_size"
    if not drawn and not steps:
        accumulated = recipe.get("training.gradient_accumulation_steps", 1)
        drawn, key = (
            (micro or DEFAULT_MICRO_BATCH) * accumulated * num_processes,
            "training.per_device_train_batch_size",
        )
    answers = num_generations(recipe)
    if drawn and drawn % answers:
        fault = f"{drawn} answers are drawn at a time, which is no multiple of training.num_generations ({answers})"
        below = drawn // answers * answers
        fix = f"let it be {' or '.join(str(size) for size in (below, below + answers) if size)}, or change num_generations"
        yield Problem(recipe.where(key), fault, fix)


def _evaluation_problems(recipe: Recipe, num_processes: int) -> Iterator[Problem]:
    """TRL measures whole groups at a time."""
    if not recipe.sources("eval"):
        return
    answers = recipe.get("training.num_generations_eval") or num_generations(recipe)
    measured = recipe.get("training.per_device_eval_batch_size", _EVAL_BATCH) * num_processes
    if measured % answers:
        fault = f"{measured} held-out answers are drawn at a time, which is no multiple of the {answers} to each prompt"
        fix = f"say training.per_device_eval_batch_size: {answers}, or training.num_generations_eval"
        yield Problem(recipe.where("training"), fault, fix)
