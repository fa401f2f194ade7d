"""Generation ends where a turn of the assistant ends, whatever a chat template puts there."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from hfrecipes.models.special_tokens import align_special_tokens
from tests.data.public_templates import PUBLIC
from tests.data.test_public_templates import write

TURNS = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]


def model_of(entries: int) -> LlamaForCausalLM:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=entries, eos_token_id=None, **sizes))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_turn_s_end_ends_generation(name: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(write(name, tmp_path / "tokenizer"))
    model = model_of(len(tokenizer))
    align_special_tokens(model, tokenizer)
    said = "".join(piece for piece, learned in PUBLIC[name].write(TURNS) if learned)
    (mark,) = [mark for mark in PUBLIC[name].specials if said.endswith(mark)]
    ends = model.generation_config.eos_token_id
    assert set(ends if isinstance(ends, list) else [ends]) == {
        tokenizer.eos_token_id,
        tokenizer.convert_tokens_to_ids(mark),
    }
    assert model.generation_config.pad_token_id == model.config.pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize(
    "template", [None, "{{ raise_exception('no') }}", "{{ messages[1]['content'] }}\n", "<|im_end|>"]
)
def test_without_such_a_mark_the_end_of_the_text_is_the_only_one(template: str | None, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(write("ChatML", tmp_path / "tokenizer"))
    tokenizer.chat_template = template
    model = model_of(len(tokenizer))
    model.generation_config.eos_token_id = [3]
    align_special_tokens(model, tokenizer)
    assert model.generation_config.eos_token_id == [3, tokenizer.eos_token_id]
