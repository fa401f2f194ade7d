"""Words that each are known, but that do not go together or leave out what another one needs."""

from __future__ import annotations

from collections.abc import Iterator

from hfrecipes.check.continued import continued_problems
from hfrecipes.check.groups import group_problems
from hfrecipes.check.objective import objective_problems
from hfrecipes.check.preferences import preference_problems
from hfrecipes.check.scheduler import scheduler_problems
from hfrecipes.check.steps import step_problems
from hfrecipes.models.foreign_code import code_problems
from hfrecipes.models.recipe_tokenizer import extends
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.resolve import DEFAULT_EVAL_STEPS
from hfrecipes.recipe.source_list import ROLES, SAMPLE

# transformers' default, which stands where a recipe saves by steps and gives no number.
DEFAULT_SAVE_STEPS = 500
# The largest vocabulary of a published model has a million (XLM-V: Liang et al. 2023, arXiv:2301.10472); the trainer makes
# room for all entries at once, and ends the process where there is none.
MOST_ENTRIES = 2_000_000
_FOUR_BIT_WORDS = (
    "bnb_4bit_compute_dtype",
    "bnb_4bit_quant_type",
    "bnb_4bit_use_double_quant",
    "bnb_4bit_quant_storage",
)
# A word, the word that gives it a meaning, and the values of the latter under which it has one.
_NEEDS: tuple[tuple[str, str, tuple[object, ...]], ...] = (
    ("save_steps", "save_strategy", (None, "steps", "best")),
    ("logging_steps", "logging_strategy", (None, "steps")),
    ("packing_strategy", "packing", (True,)),
    ("gradient_checkpointing_kwargs", "gradient_checkpointing", (None, True)),
    ("liger_kernel_config", "use_liger_kernel", (True,)),
    ("torch_compile_mode", "torch_compile", (True,)),
    ("torch_compile_backend", "torch_compile", (True,)),
)
# Beyond this a step of Adam is larger than the weights that it moves.
_LARGEST_RATE = 0.1
_MOVE_BY_THE_RATE = ("adam", "lion", "ademamix", "paged_adam", "paged_lion", "stable_adam", "nadam", "radam")


def agreement_problems(recipe: Recipe, num_processes: int) -> list[Problem]:
    """What is missing beside, or contradicts, something else that the recipe says."""
    return [
        *_model_problems(recipe, num_processes),
        *code_problems(recipe),
        *_quantization_problems(recipe),
        *_source_problems(recipe),
        *_evaluation_problems(recipe),
        *_training_problems(recipe),
        *_schedule_problems(recipe),
        *step_problems(recipe),
        *scheduler_problems(recipe),
        *_rate_problems(recipe),
        *_packing_problems(recipe),
        *continued_problems(recipe),
        *objective_problems(recipe),
        *preference_problems(recipe),
        *group_problems(recipe, num_processes),
    ]


def _model_problems(recipe: Recipe, num_processes: int) -> Iterator[Problem]:
    name, config = recipe.get("model.name_or_path"), recipe.get("model.config")
    tokenizer = recipe.get("model.tokenizer")
    if name is None and config is None:
        fix = "add name_or_path: a Hub id or folder, or config: {model_type: llama, …} for random weights"
        yield Problem(recipe.where("model"), "model names neither name_or_path nor config", fix)
    if name is not None and config is not None:
        fix = "keep name_or_path for pretrained weights, or config for random ones"
        yield Problem(recipe.where("model.config"), "model.config stands beside model.name_or_path", fix)
    elif config is not None and tokenizer is None:
        fix = "add tokenizer: a Hub id or folder, or {vocab_size: 4096} to train one on data.train"
        yield Problem(recipe.where("model.config"), "model.tokenizer is missing: a config has none of its own", fix)
    if isinstance(tokenizer, dict) and not extends(recipe):
        yield from _trained_tokenizer_problems(recipe, tokenizer.get("vocab_size"))
    if recipe.get("model.device_map") and num_processes > 1:
        fault = f"model.device_map spreads one process's model, and {num_processes} processes are asked for"
        yield Problem(recipe.where("model.device_map"), fault, "remove it: each process takes its own device")


def _trained_tokenizer_problems(recipe: Recipe, entries: int | None) -> Iterator[Problem]:
    name = recipe.get("model.name_or_path")
    if entries is None:
        fix = "say how many entries, or extend: N to add to the model's own"
        yield Problem(recipe.where("model.tokenizer"), "model.tokenizer.vocab_size is missing", fix)
    elif entries > MOST_ENTRIES:
        fault = f"model.tokenizer.vocab_size is {entries:,}"
        yield Problem(recipe.where("model.tokenizer.vocab_size"), fault, f"it is at most {MOST_ENTRIES:,}")
    elif name is not None and recipe.get("model.config") is None:
        fix = "say extend: N to add to its own, or train random weights with model.config"
        fault = f"a tokenizer trained here gives ids that the weights of {name} have never seen"
        yield Problem(recipe.where("model.tokenizer"), fault, fix)


def _quantization_problems(recipe: Recipe) -> Iterator[Problem]:
    section = recipe.get("quantization")
    if section is None:
        return
    four, eight = bool(section.get("load_in_4bit")), bool(section.get("load_in_8bit"))
    here = recipe.where("quantization")
    if four and eight:
        yield Problem(
            recipe.where("quantization.load_in_8bit"), "load_in_4bit and load_in_8bit are both on", "keep one of them"
        )
    if not four and not eight:
        yield Problem(
            here, "quantization asks for neither 4 nor 8 bits", "add load_in_4bit: true or load_in_8bit: true"
        )
    for word in _FOUR_BIT_WORDS:
        if not four and word in section:
            key = f"quantization.{word}"
            yield Problem(recipe.where(key), f"{key} has no effect without load_in_4bit", "remove it", "warning")
    if recipe.get("adapter") is None and recipe.kind != SAMPLE:
        fix = "add adapter: {method: lora, …}, or remove quantization"
        yield Problem(here, "quantized weights cannot be trained by themselves: adapter is missing", fix)


def _source_problems(recipe: Recipe) -> Iterator[Problem]:
    if not recipe.sources("train") and recipe.get("data.mixture") is None:
        fault = "data.train names no source" if "train" in recipe.get("data", {}) else "data.train is missing"
        fix = "add a source, as in train: [{path: train.jsonl}] or [{name: python_docstrings, split: train}]"
        yield Problem(recipe.where("data.train"), fault, fix)
    for key, source in named_sources(recipe):
        name, path = source.get("name"), source.get("path")
        if not name and not path:
            fix = "add name: (Hub or embedded data) or path: (a local file or folder)"
            yield Problem(recipe.where(key), f"{key} has neither a name nor a path", fix)
        if name and path:
            yield Problem(recipe.where(f"{key}.path"), f"{key} has both a name and a path", "keep one of them")
        for word in ("subset", "revision"):
            if path and not name and source.get(word) is not None:
                fault = f"{key}.{word} belongs to data sets of the Hub and has no effect on a local path"
                yield Problem(recipe.where(f"{key}.{word}"), fault, "remove it")


def named_sources(recipe: Recipe) -> Iterator[tuple[str, dict]]:
    """The dotted key and the spec of every source that the recipe names."""
    for role in ROLES:
        yield from recipe.sources(role)


def _evaluation_problems(recipe: Recipe) -> Iterator[Problem]:
    task = recipe.get("evaluation.task")
    if task is not None:
        if task.get("metric") is None:
            fix = "add one, such as metric: exact_match"
            yield Problem(recipe.where("evaluation.task"), "evaluation.task.metric is missing", fix)
        if not recipe.get("data.eval") and not recipe.get("data.test"):
            fault = "evaluation.task has no rows to score: there is neither data.test nor data.eval"
            yield Problem(recipe.where("evaluation.task"), fault, "add data.test")
    if recipe.get("evaluation.compare_base") and recipe.get("model.name_or_path") is None:
        key = "evaluation.compare_base"
        fault = f"{key} has nothing to compare with: the weights of model.config are random"
        yield Problem(recipe.where(key), fault, "remove it", "warning")


def _training_problems(recipe: Recipe) -> Iterator[Problem]:
    training = recipe.get("training", {})
    if training.get("max_steps", -1) > 0 and "num_train_epochs" in training:
        fault = "training.num_train_epochs has no effect beside training.max_steps"
        yield Problem(recipe.where("training.num_train_epochs"), fault, "keep one of them")
    for one, other in (("bf16", "fp16"), ("bf16_full_eval", "fp16_full_eval")):
        if training.get(one) and training.get(other):
            fault = f"training.{other} and training.{one} are both on"
            yield Problem(recipe.where(f"training.{other}"), fault, "keep one of them")
    if training.get("dataloader_prefetch_factor") is not None and not training.get("dataloader_num_workers"):
        fault = "training.dataloader_prefetch_factor needs workers that fetch"
        fix = "add dataloader_num_workers: 2, or remove it"
        yield Problem(recipe.where("training.dataloader_prefetch_factor"), fault, fix)
    for word, other, values in _NEEDS:
        if word in training and training.get(other) not in values:
            said = f"training.{other} is {str(training[other]).lower()}" if other in training else f"no {other}"
            fault = f"training.{word} has no effect: {said}"
            yield Problem(recipe.where(f"training.{word}"), fault, f"set {other}, or remove it", "warning")


def _schedule_problems(recipe: Recipe) -> Iterator[Problem]:
    training = recipe.get("training", {})
    measured = bool(recipe.get("data.eval"))
    strategy = training.get("eval_strategy", "steps" if measured else "no")
    if strategy != "no" and not measured:
        fault = f"training.eval_strategy is {strategy}, and there is nothing to measure on"
        yield Problem(recipe.where("training.eval_strategy"), fault, "add data.eval, or remove it")
    if "eval_steps" in training and strategy != "steps":
        fault = f"training.eval_steps has no effect: evaluation goes by {strategy}"
        fix = "set eval_strategy: steps, or remove it" if measured else "add data.eval, or remove it"
        yield Problem(recipe.where("training.eval_steps"), fault, fix, "warning")
    scheduler = training.get("lr_scheduler_type")
    if scheduler in ("reduce_lr_on_plateau", "greedy") and strategy == "no":
        fault = f"training.lr_scheduler_type {scheduler} follows the loss on data.eval, which is not measured"
        yield Problem(recipe.where("training.lr_scheduler_type"), fault, "add data.eval, or take another schedule")
    if training.get("load_best_model_at_end"):
        yield from _best_model_problems(recipe, strategy)
    yield from _early_stopping_problems(recipe)


def _rate_problems(recipe: Recipe) -> Iterator[Problem]:
    """Adam and its kin move each weight by about the learning rate in each step, whatever the gradient."""
    rate, optimizer = recipe.get("training.learning_rate"), str(recipe.get("training.optim", "adamw"))
    if isinstance(rate, int | float) and rate > _LARGEST_RATE and optimizer.startswith(_MOVE_BY_THE_RATE):
        fault = f"training.learning_rate is {rate:g}: {optimizer} moves every weight by about as much in each step"
        fix = "usual are 1e-5 to 1e-2"
        yield Problem(recipe.where("training.learning_rate"), fault, fix, "warning")


def _best_model_problems(recipe: Recipe, eval_strategy: str) -> Iterator[Problem]:
    training = recipe.get("training", {})
    key, save_strategy = "training.load_best_model_at_end", training.get("save_strategy", "steps")
    if eval_strategy == "no":
        fault = f"{key} needs a model to be measured while it learns"
        yield Problem(recipe.where(key), fault, "add data.eval, or remove it")
        return
    if save_strategy == "best":
        return
    if save_strategy != eval_strategy:
        fault = f"{key} needs checkpoints where it is measured: saving goes by {save_strategy}, evaluation by {eval_strategy}"
        yield Problem(recipe.where(key), fault, f"set save_strategy: {eval_strategy}")
        return
    eval_steps = training.get("eval_steps") or DEFAULT_EVAL_STEPS
    save_steps = training.get("save_steps", DEFAULT_SAVE_STEPS)
    if save_strategy == "steps" and not _is_multiple(save_steps, eval_steps):
        fault = f"{key} needs save_steps to be a multiple of eval_steps: they are {save_steps} and {eval_steps}"
        place = "training.save_steps" if "save_steps" in training else key
        yield Problem(recipe.where(place), fault, f"save_steps: {_next_multiple(save_steps, eval_steps)} would do")


def _early_stopping_problems(recipe: Recipe) -> Iterator[Problem]:
    key = "evaluation.early_stopping"
    if recipe.get(key) is not None and not recipe.get("training.load_best_model_at_end"):
        fault = f"{key} needs training.load_best_model_at_end: the last model is the one that was no longer better"
        yield Problem(recipe.where(key), fault, "add load_best_model_at_end: true")


def _is_multiple(steps: float, unit: float) -> bool:
    """Whether one number of steps is a multiple of another; a share of all steps (below 1) fits shares only."""
    if (steps < 1) != (unit < 1):
        return False
    ratio = steps / unit
    return ratio >= 1 and abs(ratio - round(ratio)) < 1e-9


def _next_multiple(steps: float, unit: float) -> float:
    if (steps < 1) != (unit < 1):
        return unit
    multiple = unit * max(1, -(-steps // unit))
    return round(multiple, 9) if unit < 1 else int(multiple)


def _packing_problems(recipe: Recipe) -> Iterator[Problem]:
    training = recipe.get("training", {})
    unlimited = "max_length" in training and training["max_length"] is None
    if training.get("packing") and unlimited:
        fault = "training.packing fills rows up to max_length, which is null"
        yield Problem(recipe.where("training.max_length"), fault, "give a number, such as max_length: 1024")
    if training.get("padding_free") and not training.get("packing") and not unlimited:
        fault = "training.padding_free without packing does not cut rows at max_length"
        fix = "add packing: true, or set max_length: null"
        yield Problem(recipe.where("training.padding_free"), fault, fix)
    if training.get("completion_only_loss") and training.get("assistant_only_loss"):
        fault = "training.completion_only_loss and training.assistant_only_loss are both on"
        fix = "keep completion_only_loss for prompt and completion, assistant_only_loss for messages"
        yield Problem(recipe.where("training.assistant_only_loss"), fault, fix)
