"""Whether an adapter goes together with the precision, the packing, the objective and the learning rate; and what is frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hfrecipes.check.promised import is_promised
from hfrecipes.models.adapters import is_adapter, is_bottleneck
from hfrecipes.models.config import DEPTHS
from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.recipe.adapter_words import BOTTLENECK, FULL, PROMPTING, RATES, virtual_tokens
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem

# Ways to begin LoRA that decompose each weight matrix, which four or eight bits are not.
_DECOMPOSING = ("pissa", "orthogonal")
# Ways that are worked out from data before the training; peft begins at random, or fails, where nobody has done so.
_FROM_DATA = ("eva", "corda")
_HALF = ("bfloat16", "float16")
# The narrowest of the models that people fine-tune: SmolLM2-135M has 576.
_PUBLISHED_WIDTH = 512
_Found = Iterator[Problem]


def adapter_problems(
    recipe: Recipe, hardware: Hardware, config: dict[str, Any], promised: Iterable[Path] = ()
) -> list[Problem]:
    """What cannot work, and what works badly.

    Args:
        recipe: The recipe.
        hardware: The devices it would run on.
        config: The starting model's config, as far as it is at hand.
        promised: Models that earlier steps of a pipeline will make.
    """
    method = recipe.get("adapter.method")
    looks: dict[str, tuple[Callable[[Recipe, Hardware], _Found], ...]] = {
        "lora": (_start_problems, _dora_problems),
        "ia3": (_scaled_problems,),
        BOTTLENECK: (_bottleneck_problems,),
        "prompt": (_initial_text_problems,),
        "prefix": (_prefix_problems,),
    }
    found = list(_frozen_problems(recipe))
    if recipe.kind == "sft" and not is_promised(recipe.get("model.name_or_path", ""), promised):
        found += _rate_problems(recipe, method, config)
    if method is None:
        return found
    found += [*_base_problems(recipe), *_layer_problems(recipe, config)]
    found += [problem for look in looks.get(method, ()) for problem in look(recipe, hardware)]
    if method in PROMPTING:
        found += [*_joined_row_problems(recipe, method), *_position_problems(recipe, config)]
    if method != "lora" and mtp_settings(recipe) is not None:
        fault = f"adapter.method {method} stands beside heads for further tokens, which are trained beside LoRA only"
        found.append(Problem(recipe.where("adapter.method"), fault, "say method: lora, or objective: {name: clm}"))
    return found


def _rate_problems(recipe: Recipe, method: str | None, config: dict[str, Any]) -> _Found:
    rate = recipe.get("training.learning_rate")
    usual = RATES[method or FULL]
    # Narrower models than those that practice has to do with take larger rates.
    width = config.get("hidden_size") or config.get("n_embd") or _PUBLISHED_WIDTH
    if rate is None or usual.low <= rate <= usual.high or width < _PUBLISHED_WIDTH:
        return
    what = f"{method} adapters" if method else "full fine-tuning"
    side = "below" if rate < usual.low else "above"
    fault = f"training.learning_rate is {rate:g}, {side} what {what} are trained with"
    fault = fault if method else fault.replace("are trained", "is done")
    fix = f"usual are {usual.low:g} to {usual.high:g}; {usual.usual:g} where nothing is said"
    yield Problem(recipe.where("training.learning_rate"), fault, fix, "warning")


def _frozen_problems(recipe: Recipe) -> _Found:
    frozen, where = recipe.get("model.freeze"), recipe.where("model.freeze")
    if frozen is None:
        return
    if not any(frozen.values()):
        yield Problem(where, "model.freeze names nothing", "say all_but_last: 2, or names: ['*.embed_tokens.*']")
    if recipe.get("adapter") is not None:
        fault = "model.freeze stands beside an adapter, under which all of the model is frozen"
        yield Problem(where, fault, "keep one of them")
    if recipe.kind == "reward":
        yield Problem(
            where, "model.freeze is for models that write, and a reward model scores", "train it with adapter:"
        )
    heads = mtp_settings(recipe)
    if heads is not None and heads.frozen_trunk:
        yield Problem(where, "model.freeze stands beside objective.frozen_trunk", "keep one of them")


def _base_problems(recipe: Recipe) -> _Found:
    name = recipe.get("model.name_or_path")
    folder = recipe.find_file(name) if name else None
    if folder is not None and (is_adapter(folder) or is_bottleneck(folder)):
        fault = f"{name} is an adapter itself, and another one is asked for"
        fix = "say adapter: null to train that one further, or merge it into its base first"
        yield Problem(recipe.where("adapter"), fault, fix)
    method = recipe.get("adapter.method")
    if method in (BOTTLENECK, *PROMPTING) and recipe.kind != "sft":
        fault = f"adapter.method {method} is for kind: sft, and this is kind: {recipe.kind}"
        yield Problem(recipe.where("adapter.method"), fault, "say method: lora")


def _layer_problems(recipe: Recipe, config: dict[str, Any]) -> _Found:
    """peft passes over layers that there are not; modules are looked at when the model is loaded."""
    key, text = "adapter.layers_to_transform", {**config, **(config.get("text_config") or {})}
    said, number = recipe.get(key), next((text[name] for name in DEPTHS if isinstance(text.get(name), int)), None)
    wanted = [] if said is None else said if isinstance(said, list) else [said]
    if number and any(not 0 <= layer < number for layer in wanted):
        fix = f"layers are counted from 0: the last one is {number - 1}"
        yield Problem(recipe.where(key), f"{key} is {said}, and the model has {number} layers", fix)


def _start_problems(recipe: Recipe, hardware: Hardware) -> _Found:
    key = "adapter.init_lora_weights"
    start, where = str(recipe.get(key, True)), recipe.where("adapter.init_lora_weights")
    if start.startswith(_DECOMPOSING) and recipe.get("quantization") is not None:
        fault = f"{key} {start} decomposes weight matrices, and these are quantized: peft refuses them"
        yield Problem(where, fault, "remove quantization, or say init_lora_weights: olora, or nothing")
    if start.startswith("pissa_niter"):
        fault = f"{key} {start} decomposes at random: whoever loads the adapter draws anew, and gets another model"
        yield Problem(where, fault, "say init_lora_weights: pissa, which comes out the same each time")
    if start in _FROM_DATA:
        fault = f"{key} {start} is worked out from rows before the training, which a recipe does not do"
        yield Problem(where, fault, "say init_lora_weights: pissa, olora or true")
    if start == "loftq" and not recipe.get("adapter.loftq_config"):
        yield Problem(where, f"{key} loftq needs adapter.loftq_config", "add loftq_config: {loftq_bits: 4}")


def _dora_problems(recipe: Recipe, hardware: Hardware) -> _Found:
    if recipe.get("adapter.use_dora") and recipe.get("quantization.load_in_8bit") and hardware.device == "cpu":
        fault = "adapter.use_dora fails on 8-bit weights in the second step on a CPU (bitsandbytes loses their scales)"
        yield Problem(recipe.where("adapter.use_dora"), fault, "say load_in_4bit: true, or use_dora: false")


def _scaled_problems(recipe: Recipe, hardware: Hardware) -> _Found:
    dtype = recipe.get("model.dtype")
    if recipe.get("quantization") is not None and dtype in _HALF:
        fault = f"model.dtype is {dtype}: what ia3 scales on quantized weights is float32, and attention takes one type"
        fix = "remove model.dtype: norms and embeddings stay in float32 then, and all else is quantized"
        yield Problem(recipe.where("model.dtype"), fault, fix)


def _bottleneck_problems(recipe: Recipe, hardware: Hardware) -> _Found:
    if recipe.get("quantization") is not None:
        fault = "bottleneck adapters stand beside quantization: the Trainer takes quantized weights under peft alone"
        yield Problem(recipe.where("quantization"), fault, "remove it, or say method: lora")
    if recipe.get("adapter.after") == []:
        yield Problem(recipe.where("adapter.after"), "adapter.after names no part", "say [attention, mlp], or [mlp]")


def _initial_text_problems(recipe: Recipe, hardware: Hardware) -> _Found:
    start, text = recipe.get("adapter.prompt_tuning_init"), recipe.get("adapter.prompt_tuning_init_text")
    if start == "TEXT" and not text:
        where = recipe.where("adapter.prompt_tuning_init")
        yield Problem(where, "adapter.prompt_tuning_init is TEXT, and there is none", "add prompt_tuning_init_text")
    if text and start != "TEXT":
        where = recipe.where("adapter.prompt_tuning_init_text")
        fault = "adapter.prompt_tuning_init_text has no effect: the prompt begins at random"
        yield Problem(where, fault, "add prompt_tuning_init: TEXT", "warning")


def _prefix_problems(recipe: Recipe, hardware: Hardware) -> _Found:
    if recipe.get("training.gradient_checkpointing"):
        fault = "training.gradient_checkpointing drops the keys and values that a prefix consists of"
        yield Problem(recipe.where("training.gradient_checkpointing"), fault, "remove it")


def _joined_row_problems(recipe: Recipe, method: str) -> _Found:
    for word in ("packing", "padding_free"):
        if recipe.get(f"training.{word}"):
            key = f"training.{word}"
            fault = f"{key} joins rows, and a {method} stands in front of the first alone: the others would see their neighbour"
            yield Problem(recipe.where(key), fault, "remove it")


def _position_problems(recipe: Recipe, config: dict[str, Any]) -> _Found:
    text = {**config, **(config.get("text_config") or {})}
    positions = text.get("max_position_embeddings") or text.get("n_positions")
    number, length = virtual_tokens(recipe.get("adapter")), recipe.get("training.max_length")
    if isinstance(positions, int) and isinstance(length, int) and length <= positions < length + number:
        fault = f"training.max_length is {length}, with {number} tokens in front {length + number}"
        fix = f"the model has {positions} positions: set max_length to at most {positions - number}"
        yield Problem(recipe.where("training.max_length"), fault, fix)
