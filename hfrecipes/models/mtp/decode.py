"""Generation with the heads: as `generate`, and faster where drafts are good."""

from __future__ import annotations

import copy
import logging
from typing import Any

from torch import Tensor
from transformers import GenerationConfig
from transformers.generation import LogitsProcessorList, StoppingCriteriaList, StopStringCriteria

from hfrecipes.models.mtp.declining import Declined, decline
from hfrecipes.models.mtp.loop import Loop

_log = logging.getLogger(__name__)


def mtp_generate(
    model: Any, inputs: Tensor | None = None, generation_config: GenerationConfig | None = None, **kwargs: Any
) -> Any:
    """What `model.generate` gives, in fewer passes: the heads draft, and the model verifies a draft in one pass.

    Greedy search gives the same tokens, but where rounding breaks a tie: a pass over several tokens rounds otherwise than one
    over one. Samples are of the same distribution; the same seed draws others. Where a draft cannot be verified exactly,
    `generate` itself is called, and the reason logged.

    Args:
        model: With heads (`add_mtp_heads`), in an adapter or not.
        inputs: As in `generate`.
        generation_config: As in `generate`.
        kwargs: As in `generate`: mask, processors, criteria, streamer, tokenizer and stop strings among them. A stopping
            criterion or processor of yours is called for each written token in its order, in a batch once for each length
            of text.

    Returns:
        As `generate`; with `return_dict_in_generate` an `MTPGenerateOutput` with acceptance by head. In a batch it holds no
        cache, since that would have gaps.

    Raises:
        ValueError: the model has no heads; whatever `generate` raises.
    """
    given = {"generation_config": generation_config, **kwargs}
    if inputs is not None:
        given["inputs"] = inputs
    try:
        return _generate(model, dict(given))
    except Declined as reason:
        _log.warning("mtp_generate leaves it to generate: %s", reason)
        return model.generate(**given)


def _generate(model: Any, given: dict[str, Any]) -> Any:
    """Lets `generate` prepare everything, and decodes in its place.

    It hands neither streamer nor tokenizer nor `synced_gpus` on to a function of ours, so they are taken out before.
    """
    streamer, tokenizer = given.pop("streamer", None), given.pop("tokenizer", None)
    if given.pop("synced_gpus", None):
        raise Declined("all processes take the same number of passes (synced_gpus)")
    if given.get("assistant_model") is not None or given.pop("assistant_tokenizer", None) is not None:
        raise Declined("an assistant drafts already")
    if given.get("cache_implementation") == "paged":
        raise Declined("the cache is paged")
    if _setting(model, given, "token_healing"):
        raise Declined("the end of the prompt is to be healed")
    _move_stop_strings(model, given, tokenizer)
    has_cache = given.get("past_key_values") is not None

    def decode(
        model: Any,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **inputs: Any,
    ) -> Any:
        if not isinstance(model, DecodesWithHeads):
            raise ValueError(f"{type(model).__name__} has no heads to draft with; add_mtp_heads gives it some")
        if has_cache and len(input_ids) > 1:
            raise Declined("the cache of a batch would be left with gaps")
        decline(model, input_ids, generation_config, inputs, stopping_criteria.max_length)
        loop = Loop(model, input_ids, logits_processor, stopping_criteria, generation_config, inputs, streamer)
        made = loop.run()
        _log.info("%s", loop.acceptance)
        return made

    return model.generate(custom_generate=decode, **given)


def _setting(model: Any, given: dict[str, Any], name: str) -> Any:
    """A word of the generation configuration, from where `generate` would take it."""
    places = (given, vars(given["generation_config"] or GenerationConfig()), vars(model.generation_config))
    return next((place[name] for place in places if place.get(name) is not None), None)


def _move_stop_strings(model: Any, given: dict[str, Any], tokenizer: Any) -> None:
    """Makes a stopping criterion of stop strings, for which `generate` would look for the tokenizer in vain."""
    strings = _setting(model, given, "stop_strings")
    if strings is None:
        return
    if tokenizer is None:
        raise ValueError("stop_strings need the model's tokenizer: give tokenizer= as well")
    criteria = StoppingCriteriaList(given.get("stopping_criteria") or [])
    criteria.append(StopStringCriteria(stop_strings=strings, tokenizer=tokenizer))
    given["stopping_criteria"] = criteria
    if (config := given["generation_config"]) is not None:
        given["generation_config"] = config = copy.deepcopy(config)
        config.stop_strings = None
    if config is None or model.generation_config.stop_strings is not None:
        given["stop_strings"] = None
    else:
        given.pop("stop_strings", None)


class DecodesWithHeads:
    """Comes before a model's class in the bases, so that its `generate` loses nothing on the way to `mtp_generate`."""

    def generate(self, *args: Any, custom_generate: Any = None, **kwargs: Any) -> Any:
        """As that of the model. With `custom_generate=mtp_generate`, transformers would drop streamer and tokenizer."""
        if custom_generate is mtp_generate:
            return mtp_generate(self, *args, **kwargs)
        return super().generate(*args, custom_generate=custom_generate, **kwargs)
