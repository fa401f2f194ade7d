"""How many parameters a model has, counted on torch's meta device: the real classes, without their weights.

The only file of the plan that needs torch; it imports it inside its functions.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from hfrecipes.models.config import build_config
from hfrecipes.models.freezing import freeze
from hfrecipes.models.new_rows import train_new_rows
from hfrecipes.models.peft_methods import peft_config
from hfrecipes.objectives.settings import MTPSettings
from hfrecipes.plan.shape import model_shape
from hfrecipes.recipe.adapter_words import BOTTLENECK, DEFAULTS

_STARTS = ("init_lora_weights", "init_ia3_weights", "init_weights", "prompt_tuning_init", "prompt_tuning_init_text")
_ADAPTERS = re.compile(r"lora_|ia3_|prompt_encoder\.|\.bottleneck\.|\.modules_to_save\.|trainable_tokens_delta")
_EXPERTS = re.compile(r"(^|\.)experts(\.|$)")
# Parts by the names that families give their modules, in the order in which they are tried.
_PARTS = (
    ("experts", _EXPERTS),
    ("router", re.compile(r"(^|\.)(router|mlp\.gate|block_sparse_moe\.gate|shared_expert_gate)(\.|$)")),
    ("attention", re.compile(r"attn|attention")),
    ("mlp", re.compile(r"mlp|feed_forward|ffn|fc1|fc2|shared_expert")),
)


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Parameters of a model as it will be trained; a tied embedding counts once.

    Args:
        total: All, an adapter's included.
        trainable: Those that the optimizer updates.
        embedding: Those in lookup tables of tokens and positions, a tied output matrix with them.
        non_embedding: The others, as transformers' `num_parameters(exclude_embeddings=True)` counts.
        matmul: Those that meet one token in a matrix product: the output matrix once, of experts only the visited share.
        trainable_matmul: Those of them that are trained.
        unembedding: Those of the output matrix.
        active: Those that one token uses; below `total` for a mixture of experts.
        trainable_embedding: Trained ones in lookup tables (8-bit optimizers treat them apart).
        quantized: Those kept in 4 or 8 bits.
        gated_mlp: Whether the MLPs have a gate.
        by_part: embedding, attention, mlp, experts, router, norm, unembedding, adapter, heads, other; only those that occur.
    """

    total: int
    trainable: int
    embedding: int
    non_embedding: int
    matmul: int
    trainable_matmul: int
    unembedding: int
    active: int
    trainable_embedding: int
    quantized: int
    gated_mlp: bool
    by_part: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One parameter, with the module that holds it."""

    name: str
    module: Any
    parameter: Any


def count_parameters(
    config: Any,
    adapter: dict[str, Any] | None = None,
    quantization: dict[str, Any] | None = None,
    heads: MTPSettings | None = None,
    frozen: dict[str, Any] | None = None,
    new_tokens: range | None = None,
) -> ParameterCount:
    """Counts a causal language model, with its adapter, without loading or drawing a weight.

    Args:
        config: A transformers config, or a dict with `model_type` and its fields.
        adapter: The recipe's `adapter` section.
        quantization: The recipe's `quantization` section.
        heads: Those of multi-token prediction, which stay whole beside an adapter.
        frozen: The recipe's `model.freeze` section.
        new_tokens: Ids of tokens that are new to the model, whose rows are trained beside an adapter.

    Raises:
        ValueError: where transformers or peft cannot build this model or adapter.
    """
    config = build_config(config) if isinstance(config, dict) else config
    with _on_meta_device():
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_config(config)
        quantized = _quantized(model, quantization)
        output = model.get_output_embeddings()
        output_weight = getattr(output, "weight", None)
        if heads:
            _add_heads(model, heads)
            model.requires_grad_(not heads.frozen_trunk)
        if frozen:
            freeze(model, frozen)
        if quantization:
            model.requires_grad_(False)  # bitsandbytes' weights have no gradients
        if adapter:
            model = _with_adapter(model, adapter, new_tokens)
        if heads:
            model.get_submodule(_heads_of(model)).requires_grad_(True)
    passes = heads.num_future_tokens if heads else 1
    return _tally(list(_entries(model)), output_weight, quantized, _visited_share(config), passes)


def _add_heads(model: Any, heads: MTPSettings) -> None:
    """Heads of the right size; which parts a run gives them is found out by running the model, which has no weights here."""
    from torch import nn

    from hfrecipes.models.mtp.heads import ChainedHeads, ParallelHeads

    lists = [
        part for part in model.modules() if isinstance(part, nn.ModuleList) and len({type(one) for one in part}) == 1
    ]
    layer, number = max(lists, key=len)[-1], heads.num_future_tokens - 1
    if heads.heads == "parallel":
        model.mtp_heads = ParallelHeads(layer, number)
        return
    norms = [part for part in model.modules() if "norm" in type(part).__name__.lower() and hasattr(part, "weight")]
    model.mtp_heads = ChainedHeads(layer, norms[-1], number)


def _heads_of(model: Any) -> str:
    return next(name for name, _ in model.named_modules() if name.split(".")[-1] == "mtp_heads")


@contextmanager
def _on_meta_device() -> Iterator[None]:
    import torch

    # What bitsandbytes, transformers and peft remark about kernels and weight initialisation says nothing about a count.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _with_adapter(model: Any, adapter: dict[str, Any], new_tokens: range | None) -> Any:
    from peft import get_peft_model

    if adapter["method"] == BOTTLENECK:
        from hfrecipes.models.bottleneck import add_bottlenecks

        words = {name: value for name, value in adapter.items() if name != "method" and value is not None}
        return add_bottlenecks(model, **{**DEFAULTS[BOTTLENECK], **words})
    # How the adapter starts changes no count, and some starts decompose or read weights that are not here.
    fields = {name: value for name, value in adapter.items() if name not in _STARTS}
    if adapter["method"] == "lora":
        fields = {"init_lora_weights": False, "exclude_modules": ".*mtp_heads.*", **fields}
    config = peft_config(fields)
    if new_tokens is not None:
        train_new_rows(config, model, new_tokens)
    return get_peft_model(model, config)


def _quantized(model: Any, quantization: dict[str, Any] | None) -> set[int]:
    """Ids of the weights that bitsandbytes replaces: linear layers, but for the output matrix and those asked to be left."""
    if not quantization or not (quantization.get("load_in_4bit") or quantization.get("load_in_8bit")):
        return set()
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    tied = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    skip = quantization.get("llm_int8_skip_modules")
    output = model.get_output_embeddings()
    return {
        id(module.weight)
        for name, module in model.named_modules()
        if (type(module) is nn.Linear or isinstance(module, Conv1D))
        and id(module.weight) not in tied
        and (module is not output if skip is None else not any(_names(key, name) for key in skip))
    }


def _names(key: str, module: str) -> bool:
    return f".{key}." in f".{module}."


def _visited_share(config: Any) -> float:
    """The share of its experts that a token visits."""
    shape = model_shape(config)
    return min(shape.experts_per_token / shape.num_experts, 1.0) if shape.num_experts else 1.0


def _entries(model: Any) -> Iterator[_Entry]:
    seen = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield _Entry(f"{path}.{name}", module, parameter)


def _tally(
    entries: list[_Entry], output_weight: Any, quantized: set[int], visited: float, passes: int
) -> ParameterCount:
    """Adds up; each of `passes` heads meets the output matrix."""
    by_part: dict[str, int] = {}
    sums = dict.fromkeys(("embedding", "matmul", "trainable_matmul", "active", "trainable_embedding"), 0)
    for entry in entries:
        count, trained = entry.parameter.numel(), entry.parameter.requires_grad
        part = _part(entry, output_weight)
        by_part[part] = by_part.get(part, 0) + count
        used = round(count * visited) if _EXPERTS.search(entry.name) else count
        sums["active"] += used
        if _is_lookup(entry):
            sums["embedding"] += count
            sums["trainable_embedding"] += count * trained
        if _multiplies(entry, output_weight):
            times = passes if entry.parameter is output_weight else 1
            sums["matmul"] += used * times
            sums["trainable_matmul"] += used * times * trained
    total = sum(by_part.values())
    return ParameterCount(
        total=total,
        trainable=sum(entry.parameter.numel() for entry in entries if entry.parameter.requires_grad),
        non_embedding=total - sums["embedding"],
        unembedding=0 if output_weight is None else output_weight.numel(),
        quantized=sum(entry.parameter.numel() for entry in entries if id(entry.parameter) in quantized),
        gated_mlp=any(re.search(r"gate_proj|gate_up|\.w3\.|swiglu", entry.name) for entry in entries),
        by_part=by_part,
        **sums,
    )


def _is_lookup(entry: _Entry) -> bool:
    from torch import nn

    return isinstance(entry.module, nn.Embedding)


def _multiplies(entry: _Entry, output_weight: Any) -> bool:
    """Whether this parameter meets every token in a matrix product; the frozen twin of a copied module meets none."""
    if ".original_module." in entry.name or "lora_embedding_A" in entry.name or entry.name.endswith("bias"):
        return False
    if any(part in entry.name for part in ("ia3_", "prompt_encoder.", "trainable_tokens_delta")):
        # Vectors that scale, a network that runs once a step, and rows that stand in for some of a matrix that is counted.
        return False
    return entry.parameter is output_weight or (entry.parameter.dim() >= 2 and not _is_lookup(entry))


def _part(entry: _Entry, output_weight: Any) -> str:
    if "mtp_heads." in entry.name:
        return "heads"
    if _ADAPTERS.search(entry.name):
        return "adapter"
    if _is_lookup(entry):
        return "embedding"
    if entry.parameter is output_weight:
        return "unembedding"
    if "norm" in type(entry.module).__name__.lower():
        return "norm"
    return next((part for part, pattern in _PARTS if pattern.search(entry.name)), "other")
