"""An adapter merged into the weights that it was trained on, so that a plain model is left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hfrecipes.models.adapters import is_adapter, is_bottleneck
from hfrecipes.models.integrity import ADAPTER_CONFIG, read_settings
from hfrecipes.recipe.problem import Problem, RecipeError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

# What these train stands beside the weights, not in them: vectors in front of the text or of keys and values, layers in between.
_BESIDE = {
    "PREFIX_TUNING": "prefixes are keys and values in front of each layer's",
    "PROMPT_TUNING": "prompts are vectors in front of the text",
    "MULTITASK_PROMPT_TUNING": "prompts are vectors in front of the text",
    "P_TUNING": "prompts are vectors in front of the text",
    "CPT": "prompts are vectors in front of the text",
    "ADAPTION_PROMPT": "prompts are vectors inside the attention",
}
_USE_AS_IT_IS = "use it as it is, beside its base (PeftModel.from_pretrained); LoRA and IA3 can be merged"


def refuse_unmergeable(folder: Path) -> None:
    """Makes sure that a folder holds an adapter whose effect is one on weights, of a causal language model.

    Raises:
        RecipeError: saying why it cannot be merged.
    """
    if is_bottleneck(folder):
        fault = (
            "bottleneck adapters are layers of their own, with a bend in them that no weight has: they cannot be merged"
        )
        raise RecipeError(Problem(str(folder), fault, "use it as it is, beside its base"))
    if not is_adapter(folder):
        fault = "holds no adapter, so there is nothing to merge"
        raise RecipeError(Problem(str(folder), fault, "give a run that trained an adapter, or an adapter's folder"))
    settings = read_settings(folder / ADAPTER_CONFIG)
    if reason := _BESIDE.get(str(settings.get("peft_type"))):
        raise RecipeError(Problem(str(folder), f"{reason}: they cannot be merged into weights", _USE_AS_IT_IS))
    if (task := settings.get("task_type")) not in (None, "CAUSAL_LM"):
        fault = f"is an adapter for {task}; causal language models alone are merged"
        raise RecipeError(Problem(str(folder), fault, "use it as it is, beside its base"))


@torch.no_grad()
def merge_adapter(model: PeftModel, dtype: torch.dtype) -> PreTrainedModel:
    """The base with the active adapter in its weights, saved modules and trained tokens included.

    Sums are made in float32, layer by layer, and rounded once: small updates would else be lost in the digits of bfloat16.
    Where input and output embedding were one matrix and only one of them has learnt, they are two afterwards.

    Args:
        model: An adapter on an unquantised base; it is used up.
        dtype: Of the result.

    Raises:
        ValueError: where a merged weight is not finite, or peft cannot merge an adapter of this kind.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    base = model.get_base_model()
    _untie_changed(base)
    for layer in [module for module in model.modules() if isinstance(module, BaseTunerLayer)]:
        own = layer.get_base_layer()
        own.float()
        try:
            layer.merge(safe_merge=True)
        except (NotImplementedError, RuntimeError) as error:
            raise ValueError(str(error)) from error
        own.to(dtype)
    merged = model.base_model.unload().to(dtype)
    _settle_ties(merged)
    merged.config.dtype = dtype
    return merged


@torch.no_grad()
def dequantise(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The weights of a quantised model as its forward pass multiplies with them.

    Args:
        model: Quantised by bitsandbytes as it was loaded; it is used up.
        dtype: That in which it computes.

    Raises:
        NotImplementedError: for ways of quantising that transformers cannot turn back.
    """
    model = model.dequantize(dtype=dtype).to(dtype)
    model.config.dtype = dtype
    return model


def is_quantised(model: PreTrainedModel) -> bool:
    return getattr(model.config, "quantization_config", None) is not None


def merged_dtype(model: PreTrainedModel) -> torch.dtype:
    """The precision of a base's weights; of one in four bits, that in which it computes."""
    settings = getattr(model.config, "quantization_config", None)
    in_four_bits = getattr(settings, "load_in_4bit", False)
    return settings.bnb_4bit_compute_dtype if in_four_bits else model.dtype


def _untie_changed(base: PreTrainedModel) -> None:
    """Gives the output a matrix of its own, where an adapter on either embedding would else change both."""
    given, head = base.get_input_embeddings(), base.get_output_embeddings()
    if head is None or not (_is_wrapped(given) or _is_wrapped(head)):
        return
    inside, outside = _innermost(given), _innermost(head)
    if inside.weight is outside.weight:
        outside.weight = torch.nn.Parameter(inside.weight.detach().clone(), requires_grad=False)


def _settle_ties(merged: PreTrainedModel) -> None:
    """Ties what is the same, and says in the config where the two embeddings are not; a loader goes by that."""
    given, head = merged.get_input_embeddings(), merged.get_output_embeddings()
    if head is None or not merged.config.get_text_config().tie_word_embeddings:
        return
    if given.weight.shape == head.weight.shape and torch.equal(given.weight, head.weight):
        head.weight = given.weight
        return
    for config in _configs(merged):
        config.tie_word_embeddings = False


def _configs(merged: PreTrainedModel) -> Iterator[Any]:
    yield merged.config
    if (text := merged.config.get_text_config()) is not merged.config:
        yield text


def _is_wrapped(module: torch.nn.Module) -> bool:
    return _innermost(module) is not module


def _innermost(module: torch.nn.Module) -> torch.nn.Module:
    """The base's own module under the wrappers of peft: layers, saved modules, trained tokens."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    while True:
        if isinstance(module, BaseTunerLayer):
            module = module.get_base_layer()
        elif isinstance(module, AuxiliaryTrainingWrapper):
            module = module.original_module
        else:
            return module
