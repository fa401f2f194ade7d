"""The tokens at which a model's text ends, the same in its configs as in its tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import TemplateError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SAID = "Said and done"


def align_special_tokens(model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Generation ends at the end of a document and, where the chat template has one, at the end of a turn."""
    config, generation = model.config.get_text_config(), getattr(model, "generation_config", None)
    config.pad_token_id = tokenizer.pad_token_id
    if generation is None:  # of a model that gives no text
        return
    generation.pad_token_id = tokenizer.pad_token_id
    ends = generation.eos_token_id if isinstance(generation.eos_token_id, list) else [generation.eos_token_id]
    ends = [token for token in ends if token is not None]
    for token in (tokenizer.eos_token_id, _turn_end(tokenizer)):
        if token is not None and token not in ends:
            ends.append(token)
    if ends:
        generation.eos_token_id = ends if len(ends) > 1 else ends[0]


def _turn_end(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that stands behind what an assistant says, where the chat template puts one there."""
    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": _SAID}]
    try:
        _, said, behind = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(_SAID)
    except TemplateError:  # one that takes no such conversation
        return None
    ids = tokenizer(behind.lstrip(), add_special_tokens=False)["input_ids"] if said else None
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None
