"""What mtp_generate leaves to generate, and says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, StaticCache

from hfrecipes.models.mtp.attach import add_mtp_heads
from hfrecipes.models.mtp.decode import mtp_generate

from .families import build
from .phrases import prompts, trained


@pytest.fixture
def reasons(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, logger="hfrecipes.models.mtp.decode"):
        yield caplog


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"num_beams": 2}, "beam search"),
        ({"use_cache": False}, "no cache"),
        ({"cache_implementation": "static"}, "StaticCache"),
        ({"prompt_lookup_num_tokens": 2}, "assisted generation"),
        ({"output_hidden_states": True, "return_dict_in_generate": True}, "hidden states"),
        ({"guidance_scale": 1.5}, "guidance"),
        ({"prefill_chunk_size": 4}, "chunks"),
    ],
)
def test_what_cannot_be_drafted_is_left_to_generate_with_one_reason(
    words: dict[str, Any], reason: str, reasons: pytest.LogCaptureFixture
) -> None:
    model, ids = trained("llama", "parallel"), prompts()[0][:1]
    expected = model.generate(ids, max_new_tokens=8, **words)
    found = mtp_generate(model, ids, max_new_tokens=8, **words)
    if not isinstance(found, Tensor):
        expected, found = expected.sequences, found.sequences
    assert torch.equal(found, expected)
    assert len(reasons.records) == 1
    assert reason in reasons.records[0].getMessage()


def test_a_sliding_window_is_left_to_generate_once_the_text_does_not_fit(reasons: pytest.LogCaptureFixture) -> None:
    model = add_mtp_heads(build("mistral", sliding_window=32), 4)
    model.generation_config.pad_token_id = 0
    ids = prompts()[0][:1]
    for new, logged in ((10, 0), (30, 1)):
        assert torch.equal(mtp_generate(model, ids, max_new_tokens=new), model.generate(ids, max_new_tokens=new))
        assert len(reasons.records) == logged
    assert "sliding window" in reasons.records[0].getMessage()


def test_caches_of_the_user_serve_when_they_are_empty(reasons: pytest.LogCaptureFixture) -> None:
    model, ids = trained("llama", "parallel"), prompts()[0][:1]
    cache = DynamicCache()
    first = mtp_generate(model, ids, past_key_values=cache, max_new_tokens=10)
    assert not reasons.records
    assert cache.get_seq_length() == first.shape[1] - 1
    again = mtp_generate(model, first, past_key_values=cache, max_new_tokens=5)
    assert "filled already" in reasons.records[0].getMessage()
    assert torch.equal(again, model.generate(ids, max_new_tokens=15))
    reasons.clear()
    mtp_generate(model, ids.repeat(2, 1), past_key_values=DynamicCache(), max_new_tokens=5)
    assert "gaps" in reasons.records[0].getMessage()
    fixed = StaticCache(config=model.config, max_cache_len=64)
    assert torch.equal(mtp_generate(model, ids, past_key_values=fixed, max_new_tokens=15), again)


def test_a_cache_of_the_user_holds_no_rejected_drafts_where_an_end_of_sequence_cuts_one() -> None:
    model, ids = trained("llama", "parallel"), prompts()[0][:1]
    text = model.generate(ids, max_new_tokens=12, eos_token_id=None)[0, ids.shape[1] :].tolist()
    for end in range(1, 8):
        cache = DynamicCache()
        eos = text[end]
        found = mtp_generate(model, ids, past_key_values=cache, max_new_tokens=12, eos_token_id=eos)
        assert found[0, ids.shape[1] :].tolist() == text[: text.index(eos) + 1]
        assert cache.get_seq_length() == found.shape[1] - 1


def test_a_model_without_heads_is_refused() -> None:
    model, ids = build("llama"), prompts()[0][:1]
    for call in (lambda: mtp_generate(model, ids), lambda: model.generate(ids, custom_generate=mtp_generate)):
        with pytest.raises(ValueError, match="has no heads"):
            call()


def test_processes_that_share_weights_are_left_to_generate(reasons: pytest.LogCaptureFixture) -> None:
    model, ids = trained("llama", "parallel"), prompts()[0][:1]
    with pytest.raises(ValueError, match="process group"):
        mtp_generate(model, ids, synced_gpus=True, max_new_tokens=4)
    assert "synced_gpus" in reasons.records[0].getMessage()


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "dynamic"),
        ("bloom", {}, "position_ids"),
    ],
)
def test_a_batch_of_a_model_whose_positions_hang_on_the_whole_batch_is_left_to_generate(
    family: str, changes: dict[str, Any], reason: str, reasons: pytest.LogCaptureFixture
) -> None:
    if family == "bloom":
        shape = {"vocab_size": 97, "hidden_size": 32, "n_layer": 2, "n_head": 4, "pad_token_id": 0}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("bloom", **shape), dtype=torch.float64).eval()
    else:
        model = build(family, **changes)
    model = add_mtp_heads(model, 3)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, 1
    ids, mask = prompts()
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=6)
    assert torch.equal(mtp_generate(model, ids, attention_mask=mask, max_new_tokens=6), expected)
    assert reason in reasons.records[0].getMessage()
