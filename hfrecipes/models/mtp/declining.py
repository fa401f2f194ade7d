"""Where decoding with heads would not give what `generate` gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.generation import GenerationMode
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.integrations.fsdp import is_fsdp_managed_module

from hfrecipes.models.mtp.slots import most_slots

# What the loop feeds to the model itself, or what is the same in each pass.
_FED = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep", "output_router_logits"}
_CHANGING_ROTATION = ("dynamic", "longrope")


class Declined(Exception):
    """Raised before anything is written; says why."""


def decline(
    model: Any, prompts: Tensor, config: GenerationConfig, inputs: dict[str, Any], max_length: int | None
) -> None:
    """Raises where drafts cannot be verified exactly, or not at all.

    Args:
        model: With heads.
        prompts: `(rows, tokens)`.
        config: What `generate` made of its arguments.
        inputs: What it would give to the model.
        max_length: Of the longest text.

    Raises:
        Declined: with the reason.
    """
    reasons = [
        _of_mode(config),
        _of_inputs(inputs),
        _of_positions(model, prompts, inputs),
        _of_cache(model, prompts, inputs, max_length),
        _of_model(model),
    ]
    reason = next((reason for reason in reasons if reason), None)
    if reason:
        raise Declined(reason)


def _of_mode(config: GenerationConfig) -> str | None:
    mode = config.get_generation_mode()
    if mode not in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE):
        return f"{mode.value.replace('_', ' ')} is neither greedy search nor sampling"
    if config.output_attentions or config.output_hidden_states:
        return "attentions and hidden states are wanted step by step"
    if config.guidance_scale not in (None, 1) or config.watermarking_config is not None:
        return "guidance and watermarks count the steps of the model"
    return "the prompt is to be read in chunks" if config.prefill_chunk_size else None


def _of_inputs(inputs: dict[str, Any]) -> str | None:
    other = sorted(name for name, value in inputs.items() if name not in _FED and value is not None)
    return f"the model is given {', '.join(other)}" if other else None


def _of_positions(model: Any, prompts: Tensor, inputs: dict[str, Any]) -> str | None:
    positions, mask = inputs.get("position_ids"), inputs.get("attention_mask")
    if positions is not None:
        return None if positions.dim() == 2 else "its positions have more than one part"
    if len(prompts) > 1 or mask is not None:
        return "it takes no position_ids, and rows of a batch accept different numbers of drafts"
    return None


def _of_cache(model: Any, prompts: Tensor, inputs: dict[str, Any], max_length: int | None) -> str | None:
    cache = inputs.get("past_key_values")
    if type(cache) is not DynamicCache or not inputs.get("use_cache"):
        return f"{'no cache' if cache is None else type(cache).__name__} gives back no places; a DynamicCache does"
    if cache.offloading:
        return "the cache is kept on another device"
    if cache.get_seq_length():
        return "the cache is filled already, and those of the heads are not"
    if max_length is None:
        return "there is no maximum length"
    kinds = {type(layer) for layer in cache.layers} - {DynamicLayer}
    if kinds - {DynamicSlidingWindowLayer}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds - {DynamicSlidingWindowLayer}))
        return f"what {names} holds cannot be given back"
    windows = [layer.sliding_window for layer in cache.layers if type(layer) is DynamicSlidingWindowLayer]
    width = 2 * (len(model.mtp_heads) + 1)
    needed = max_length + width if len(prompts) == 1 else most_slots(max_length, width)
    if windows and needed >= min(windows):
        return f"{needed} places do not fit into a sliding window of {min(windows)}"
    return None


def _of_model(model: Any) -> str | None:
    words = model.config.get_text_config().to_dict().get("rope_parameters") or {}
    for part in (words, *(part for part in words.values() if isinstance(part, dict))):
        if part.get("rope_type") in _CHANGING_ROTATION:
            return f"its rotary positions are {part['rope_type']}: they change with the length of the text"
    shared = (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    )
    if shared and (is_deepspeed_zero3_enabled() or is_fsdp_managed_module(model)):
        return "its weights are sharded: all processes take the same number of passes"
    return None
