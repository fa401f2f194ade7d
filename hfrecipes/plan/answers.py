"""The plan of a recipe that only draws and scores answers: forward passes, weights, and the cache of what is being written."""

from __future__ import annotations

from typing import Any

from hfrecipes.plan import flops, memory
from hfrecipes.plan.advice import memory_problems
from hfrecipes.plan.compute import on_devices
from hfrecipes.plan.counts import DataCounts
from hfrecipes.plan.footprint import Footprint
from hfrecipes.plan.parameters import ParameterCount, count_parameters
from hfrecipes.plan.policy import reward_bytes
from hfrecipes.plan.shape import ModelShape, model_shape
from hfrecipes.recipe.drawing_words import Drawing, drawing_of
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.resolve import BatchSplit


def answers_figures(
    recipe: Recipe, hardware: Hardware, data: DataCounts, config: Any, adapter: dict[str, Any] | None
) -> dict[str, Any]:
    """The fields of a plan for `kind: sample`; no step is made, so those of steps are None.

    Answers are taken to be as long as they may be, and each reads its prompt anew.

    Args:
        recipe: Resolved.
        hardware: The device.
        data: Prompts, counted or estimated.
        config: The model's, or the problem that says why it is not known.
        adapter: The one that the model has already.

    Raises:
        RecipeError: transformers or peft cannot build the model.
    """
    drawing = drawing_of(recipe)
    problems = [*recipe.unchecked, *data.problems]
    prompt = None if data.tokens is None or not data.rows else data.tokens / data.rows
    row = (prompt or 0.0) + drawing.max_new_tokens
    split = BatchSplit(drawing.batch_size, drawing.batch_size, 1)
    counts = shape = room = compute = None
    if isinstance(config, Problem):
        problems.append(config)
    else:
        counts, shape = _counted(recipe, config, adapter), model_shape(config)
        room = _room(recipe, counts, shape, drawing, row)
        problems += [*room.problems, *memory_problems(recipe, room, hardware, 1, split)]
    tokens = None if prompt is None else data.rows * drawing.num_return_sequences * row
    if counts and shape and tokens is not None:
        attention = flops.attention_flops(shape.windows, shape.num_heads * shape.head_dim, row)
        total = flops.token_flops(counts.matmul, 0, attention).forward * tokens
        compute = on_devices(total, total, hardware, 1)
    return {
        "batch": split,
        "row_tokens": round(row),
        "parameters": counts,
        "shape": shape,
        "data": data,
        "steps": None,
        "epochs": None,
        "tokens": tokens,
        "compute": compute,
        "memory": room,
        "disk": None,
        "estimated": data.estimated,
        "steps_estimated": False,
        "problems": tuple(problems),
    }


def _counted(recipe: Recipe, config: Any, adapter: dict[str, Any] | None) -> ParameterCount:
    try:
        return count_parameters(config, adapter, recipe.get("quantization"))
    except Exception as error:  # whatever transformers or peft finds amiss, in whichever type
        fault = f"cannot be built: {error}"
        raise RecipeError(Problem(recipe.where("model"), fault, "correct the model section")) from error


def _room(recipe: Recipe, counts: ParameterCount, shape: ModelShape, drawing: Drawing, row: float) -> Footprint:
    """Weights, keys and values of the answers being written, their logits in float32, and reward models."""
    size = memory.DTYPE_BYTES.get(recipe.get("model.dtype"), 2)
    section = recipe.get("quantization")
    weights = float((counts.total - counts.quantized) * size)
    if section and counts.quantized:
        words = {name: bool(section.get(name)) for name in ("load_in_4bit", "load_in_8bit")}
        double = bool(section.get("bnb_4bit_use_double_quant"))
        weights += counts.quantized * memory.quantized_bits(**words, double_quant=double) / 8
    heads = (len(shape.windows), shape.num_key_value_heads, shape.head_dim)
    rewards, unknown = reward_bytes(recipe)
    parts = {
        "weights": weights,
        "keys and values": memory.kv_cache_bytes(*heads, drawing.batch_size * row, size),
        "logits": memory.logits_bytes(drawing.batch_size, shape.vocab_size, size),
        "rewards": rewards,
    }
    return Footprint(memory.StateBytes(weights, 0.0, 0.0), parts, 0.0, 0.0, unknown)
