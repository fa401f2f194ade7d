"""What a recipe leaves open, decided from the hardware and written down, so that the resolved recipe says what ran."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from hfrecipes.recipe.adapter_words import DEFAULTS, FULL, RATES, virtual_tokens
from hfrecipes.recipe.drawing_words import drawing_of
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.source_list import PROMPTED, SAMPLE

# The micro-batch where a recipe says only the global batch: transformers' own default.
DEFAULT_MICRO_BATCH = 8
DEFAULT_CONTEXT = 1024
# PPOConfig's own defaults.
NUM_PPO_EPOCHS, NUM_MINI_BATCHES = 4, 1
# Of a policy that is trained on its own answers (Huang et al. 2024, arXiv:2403.17031); low-rank adapters take ten times that.
POLICY_RATE, POLICY_ADAPTER_RATE = 3.0e-6, 3.0e-5
# Evaluations during training where data.eval is given and no schedule: one each fifth of the steps.
DEFAULT_EVAL_STEPS = 0.2


@dataclass(frozen=True, slots=True)
class BatchSplit:
    """How one optimizer step's rows are divided: `global_batch_size = world_size * micro_batch_size * accumulation_steps`."""

    global_batch_size: int
    micro_batch_size: int
    accumulation_steps: int


def resolve(recipe: Recipe, hardware: Hardware, world_size: int = 1) -> Recipe:
    """Fills in precision, activation checkpointing, batch sizes, context and schedules of evaluation.

    The result is a recipe again: running it anew on the same hardware changes nothing.

    Raises:
        RecipeError: where the global batch cannot be divided as asked.
    """
    if recipe.kind == SAMPLE:
        return _resolve_answers(recipe, hardware)
    split = split_batch(recipe, hardware, world_size)
    training: dict[str, Any] = dict(recipe.get("training", {}))
    training.pop("gradient_accumulation_steps", None)
    training["global_batch_size"] = split.global_batch_size
    training["per_device_train_batch_size"] = split.micro_batch_size
    _fill(training, _training_defaults(recipe, hardware))
    if training.get("total_episodes") is not None:
        training["max_steps"] = steps_of_episodes(training)
        del training["total_episodes"]
    changes: dict[str, Any] = {"training": training, "model": _model(recipe, hardware), "name": recipe.name}
    if recipe.get("adapter"):
        changes["adapter"] = {**DEFAULTS[recipe.get("adapter.method")], **recipe.get("adapter")}
    if recipe.get("quantization"):
        changes["quantization"] = _quantization(recipe, hardware)
    if recipe.kind == "pretrain":
        changes["data"] = dict(recipe.values["data"])
        _fill(changes["data"], {"context_length": default_context(recipe), "document_mask": True})
    return recipe.replace(**changes)


def _resolve_answers(recipe: Recipe, hardware: Hardware) -> Recipe:
    """Nothing is trained, so that weights may stand in half precision wherever that is worth having."""
    model = dict(recipe.get("model", {}))
    _fill(model, {"dtype": "bfloat16" if hardware.bf16 else "float32"})
    changes: dict[str, Any] = {"model": model, "name": recipe.name, "generation": asdict(drawing_of(recipe))}
    if recipe.get("quantization"):
        changes["quantization"] = _quantization(recipe, hardware)
    return recipe.replace(**changes)


def default_context(recipe: Recipe) -> int:
    """Tokens of a row where a recipe says nothing: the usual number, or what the model can read at most."""
    config: dict[str, Any] = recipe.get("model.config", {})
    file = recipe.find_file(recipe.get("model.name_or_path", "")) / "config.json"
    if not config and file.is_file():
        with contextlib.suppress(ValueError, OSError):  # a damaged one is told of by what checks the model
            config = json.loads(file.read_text(encoding="utf-8"))
    stated = [config.get(name) for name in ("max_position_embeddings", "n_positions")]
    known = [number for number in stated if isinstance(number, int) and number > 0]
    # What an adapter puts in front of a row takes positions, too.
    return min([DEFAULT_CONTEXT, *(max(number - virtual_tokens(recipe.get("adapter")), 1) for number in known)])


def steps_of_episodes(training: dict[str, Any]) -> int:
    """Optimizer steps in which so many completions are learnt from: whole rollouts, each so often as the recipe says.

    Args:
        training: The section, with `total_episodes` and `global_batch_size`.
    """
    minibatches = training.get("num_mini_batches", NUM_MINI_BATCHES)
    rollout = training["global_batch_size"] * minibatches
    return -(-training["total_episodes"] // rollout) * minibatches * training.get("num_ppo_epochs", NUM_PPO_EPOCHS)


def split_batch(recipe: Recipe, hardware: Hardware, world_size: int = 1) -> BatchSplit:
    """Divides the global batch over processes, micro-batches and accumulation steps, exactly.

    Raises:
        RecipeError: where it cannot be divided, naming the numbers that would do.
    """
    training = recipe.get("training", {})
    micro, total = training.get("per_device_train_batch_size"), training.get("global_batch_size")
    if total is None:
        micro = micro or _default_micro_batch(recipe, hardware, DEFAULT_MICRO_BATCH)
        steps = training.get("gradient_accumulation_steps") or 1
        return BatchSplit(micro * steps * world_size, micro, steps)
    if "gradient_accumulation_steps" in training:
        fault = "training.gradient_accumulation_steps stands beside training.global_batch_size"
        fix = "remove it: it follows from the global batch, the processes and the micro-batch"
        raise RecipeError(Problem(recipe.where("training.gradient_accumulation_steps"), fault, fix))
    if total % world_size:
        near = _multiples_near(total, world_size)
        fault = f"training.global_batch_size {total} cannot be divided over {world_size} processes"
        raise RecipeError(Problem(recipe.where("training.global_batch_size"), fault, f"{near} would do"))
    share = total // world_size
    if micro is None:
        most = _default_micro_batch(recipe, hardware, DEFAULT_MICRO_BATCH)
        micro = max(size for size in range(1, min(share, most) + 1) if share % size == 0)
    if share % micro:
        fits = ", ".join(str(size) for size in range(1, share + 1) if share % size == 0 and size <= 256)
        fault = f"{share} rows of the global batch for each of {world_size} process(es) are not a multiple of {micro}"
        fix = f"per_device_train_batch_size could be {fits}; global_batch_size {_multiples_near(total, micro * world_size)}"
        raise RecipeError(Problem(recipe.where("training.per_device_train_batch_size"), fault, fix))
    return BatchSplit(total, micro, share // micro)


def _default_micro_batch(recipe: Recipe, hardware: Hardware, usual: int) -> int:
    """One row where packing flattens a micro-batch and no variable-length kernel keeps the documents apart cheaply.

    Under sdpa the cost of a flattened micro-batch grows with its square: .18 CPU-seconds a row at micro-batch 1, .59 at 8.
    """
    flash = str(recipe.get("model.attn_implementation", "")).startswith("flash") and hardware.flash_attention
    return 1 if recipe.get("training.packing") and not flash else usual


def _multiples_near(total: int, unit: int) -> str:
    below = total // unit * unit
    return " or ".join(str(size) for size in (below, below + unit) if size > 0)


def _training_defaults(recipe: Recipe, hardware: Hardware) -> dict[str, Any]:
    on_gpu = hardware.device == "cuda"
    defaults: dict[str, Any] = {
        "bf16": hardware.bf16 and not recipe.get("training.fp16", False),
        # On a CPU recomputation costs a third of the time and memory is plentiful; TRL turns it on wherever it runs.
        # Under it, prefixes would be left out of half of what is computed.
        "gradient_checkpointing": on_gpu and recipe.kind == "sft" and recipe.get("adapter.method") != "prefix",
        "logging_steps": 10,
        "seed": 42,
    }
    if recipe.kind in PROMPTED:
        defaults["learning_rate"] = POLICY_ADAPTER_RATE if recipe.get("adapter") else POLICY_RATE
    elif recipe.kind != "pretrain":
        defaults["max_length"] = default_context(recipe)
        defaults["learning_rate"] = RATES[recipe.get("adapter.method", FULL)].usual
    if recipe.get("data.eval"):
        defaults["eval_strategy"] = "steps"
    strategy = recipe.get("training.eval_strategy", defaults.get("eval_strategy", "no"))
    if strategy == "steps":
        defaults["eval_steps"] = DEFAULT_EVAL_STEPS
    return defaults


def _model(recipe: Recipe, hardware: Hardware) -> dict[str, Any]:
    model = dict(recipe.get("model", {}))
    frozen = recipe.get("adapter") is not None
    # What IA3 scales on quantized weights comes out in float32, which norms and embeddings have to take.
    scaled = recipe.get("adapter.method") == "ia3" and recipe.get("quantization") is not None
    # Frozen weights may be stored in half precision; weights that are trained need fp32 (mixed precision casts as it goes).
    _fill(model, {"dtype": "bfloat16" if frozen and hardware.bf16 and not scaled else "float32"})
    return model


def _quantization(recipe: Recipe, hardware: Hardware) -> dict[str, Any]:
    """QLoRA's own settings (Dettmers et al. 2023), where bitsandbytes' would be FP4 computed in float32."""
    section = dict(recipe.get("quantization"))
    if not section.get("load_in_4bit"):
        return section
    compute = "bfloat16" if hardware.bf16 else "float32"
    _fill(section, {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": compute})
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        # FSDP shards what is stored, and mixes no bytes with the floats beside them (axolotl#1482).
        _fill(section, {"bnb_4bit_quant_storage": section["bnb_4bit_compute_dtype"]})
    return section


def _fill(section: dict[str, Any], defaults: dict[str, Any]) -> None:
    for key, value in defaults.items():
        section.setdefault(key, value)
