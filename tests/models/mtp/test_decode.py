"""mtp_generate against generate: greedy search, token for token, in float64, where no rounding decides between two tokens."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from hfrecipes.models.mtp import acceptance, drafting, slots
from hfrecipes.models.mtp.attach import add_mtp_heads
from hfrecipes.models.mtp.decode import mtp_generate

from .families import build, head_logits
from .phrases import prompts, trained

FAMILIES = ("llama", "qwen2", "qwen3", "gpt2", "gemma2", "olmo2", "gpt_neox", "qwen3_moe")
KINDS = ("parallel", "chained")


@pytest.fixture(params=KINDS)
def llama(request: pytest.FixtureRequest) -> Any:
    return trained("llama", request.param)


@pytest.fixture
def full_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafting.Drafter, "cost", 0.0)


@pytest.mark.parametrize("heads", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("full_drafts")
def test_greedy_search_gives_the_same_tokens_alone_and_in_a_ragged_batch(family: str, heads: str) -> None:
    model = trained(family, heads)
    ids, mask = prompts()
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=30)
    found = mtp_generate(model, ids, attention_mask=mask, max_new_tokens=30, return_dict_in_generate=True)
    assert torch.equal(found.sequences, expected)
    accepted, reached = sum(found.acceptance.accepted), sum(found.acceptance.reached)
    assert 0 < accepted < reached, "both must happen, or the test says little"
    alone = mtp_generate(model, ids[:1], max_new_tokens=30)
    assert torch.equal(alone, model.generate(ids[:1], max_new_tokens=30))


@pytest.mark.usefixtures("full_drafts")
def test_drafts_are_those_of_heads_that_read_the_whole_text_without_a_cache(llama: Any) -> None:
    ids = prompts()[0][:1]
    found = mtp_generate(llama, ids, max_new_tokens=30, return_dict_in_generate=True)
    text, passes, accepted = ids, 1, [0, 0, 0]
    text = torch.cat([text, _own(llama, text)], 1)
    while text.shape[1] < ids.shape[1] + 30:
        drafts = _drafts(llama, text)
        passes += 1
        for head, draft in enumerate([*drafts, None]):
            if text.shape[1] == ids.shape[1] + 30:
                break
            token = _own(llama, text)
            text = torch.cat([text, token], 1)
            if token != draft:
                break
            accepted[head] += 1
    assert torch.equal(found.sequences, text)
    assert (found.acceptance.forwards, found.acceptance.accepted) == (passes, accepted)


def _own(model: Any, text: Tensor) -> Tensor:
    return model(input_ids=text).logits[:, -1:].argmax(-1)


@torch.no_grad()
def _drafts(model: Any, text: Tensor) -> list[int]:
    """What the heads say at the last token but one, when the last is known."""
    found: list[int] = []
    for head in range(1, 4):
        known = torch.cat([text, torch.tensor([[*found, 0, 0, 0, 0]])], 1)
        at = text.shape[1] - 2
        # Chained heads read tokens ahead: what stands behind the drafts does not reach this place.
        given = known if hasattr(model.mtp_heads, "projections") else known[:, : at + 1]
        found.append(int(head_logits(model, given)[head][0, at].argmax()))
    return found


def test_a_model_that_was_never_trained_gives_the_same_tokens_though_every_draft_is_wrong() -> None:
    model = add_mtp_heads(build("llama"), 3)
    model.generation_config.pad_token_id = 0
    ids, mask = prompts()
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=25)
    assert torch.equal(mtp_generate(model, ids, attention_mask=mask, max_new_tokens=25), expected)


@pytest.mark.usefixtures("full_drafts")
def test_gaps_in_the_caches_of_a_batch_are_closed_and_change_nothing(
    llama: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_FEW_DEAD", 0)
    monkeypatch.setattr(slots, "_DEAD_SHARE", 1000)
    closed: list[int] = []
    take = slots._take
    monkeypatch.setattr(slots, "_take", lambda *given: closed.append(1) or take(*given))
    ids, mask = prompts()
    expected = llama.generate(ids, attention_mask=mask, max_new_tokens=40)
    assert torch.equal(mtp_generate(llama, ids, attention_mask=mask, max_new_tokens=40), expected)
    assert closed


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_generate_still_finds_out_what_the_forward_pass_takes(family: str) -> None:
    model, (ids, mask) = build(family), prompts()
    model.generation_config.pad_token_id = 0
    expected = model.generate(ids, attention_mask=mask, max_new_tokens=8)
    plain = inspect.signature(model.forward)
    assert inspect.signature(add_mtp_heads(model, 3).forward) == plain
    assert torch.equal(model.generate(ids, attention_mask=mask, max_new_tokens=8), expected)


def test_a_prompt_of_one_token_works(llama: Any) -> None:
    ids = prompts()[0][:, -1:]
    assert torch.equal(mtp_generate(llama, ids, max_new_tokens=12), llama.generate(ids, max_new_tokens=12))


def test_several_sequences_of_each_prompt_are_returned(llama: Any) -> None:
    ids, mask = prompts(2)
    torch.manual_seed(0)
    found = mtp_generate(llama, ids, attention_mask=mask, max_new_tokens=8, do_sample=True, num_return_sequences=3)
    assert found.shape[0] == 6
    assert torch.equal(found[:, : ids.shape[1]], ids.repeat_interleave(3, 0))
    assert len({tuple(row) for row in found[:3].tolist()}) > 1


def test_scores_logits_and_the_cache_are_those_of_generate(llama: Any) -> None:
    ids = prompts()[0][:1]
    words = {
        "max_new_tokens": 15,
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "repetition_penalty": 1.2,
    }
    expected, found = llama.generate(ids, **words), mtp_generate(llama, ids, **words)
    for name in ("scores", "logits"):
        assert len(getattr(found, name)) == len(getattr(expected, name)) == 15
        for one, other in zip(getattr(found, name), getattr(expected, name), strict=True):
            torch.testing.assert_close(one, other)
    assert found.past_key_values.get_seq_length() == expected.past_key_values.get_seq_length()
    for one, other in zip(found.past_key_values.layers, expected.past_key_values.layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys)


def test_scores_of_a_batch_are_those_of_generate_up_to_the_end_of_each_row(llama: Any) -> None:
    ids, mask = prompts()
    words = {"max_new_tokens": 15, "return_dict_in_generate": True, "output_scores": True, "attention_mask": mask}
    eos = int(llama.generate(ids, attention_mask=mask, max_new_tokens=15)[0, ids.shape[1] + 4])
    expected, found = (
        llama.generate(ids, eos_token_id=eos, **words),
        mtp_generate(llama, ids, eos_token_id=eos, **words),
    )
    assert torch.equal(found.sequences, expected.sequences)
    assert found.past_key_values is None
    open_rows = torch.ones(len(ids), dtype=torch.bool)
    for step, (one, other) in enumerate(zip(found.scores, expected.scores, strict=True)):
        torch.testing.assert_close(one[open_rows], other[open_rows])
        assert not one[~open_rows].any()
        open_rows &= expected.sequences[:, ids.shape[1] + step] != eos


def test_a_model_in_an_adapter_decodes_with_the_heads_and_the_adapter() -> None:
    model = add_mtp_heads(build("llama"), 3)
    model.generation_config.pad_token_id = 0
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)).eval()
    ids = prompts()[0][:1]
    with adapted.disable_adapter():
        plain = adapted.generate(input_ids=ids, max_new_tokens=20)
    expected = adapted.generate(input_ids=ids, max_new_tokens=20)
    found = mtp_generate(adapted, ids, max_new_tokens=20, return_dict_in_generate=True)
    assert torch.equal(found.sequences, expected)
    assert not torch.equal(expected, plain)
    assert sum(found.acceptance.reached)


def test_acceptance_tells_heads_that_were_reached_from_drafts_that_were_in_vain(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted = acceptance.Acceptance.of(3)
    counted.add(0, [0, 0], [0, 0])
    counted.add(3, [1, 3], [0, 3])
    counted.add(2, [2], [1])
    assert counted.by_head == [2 / 3, 1 / 2, 1.0]
    assert counted.by_position == [2 / 3, 1 / 3, 1 / 2]
    assert counted.forwards == 5
    with caplog.at_level(logging.INFO, logger="hfrecipes.models.mtp.decode"):
        found = mtp_generate(
            trained("llama", "chained"), prompts()[0][:1], max_new_tokens=9, return_dict_in_generate=True
        )
    assert found.acceptance.tokens == 9
    assert f"9 tokens in {found.acceptance.forwards} passes" in caplog.text


def test_the_length_of_a_draft_is_the_one_with_most_tokens_for_its_cost() -> None:
    length = acceptance.DraftLength(3, 0.3)
    assert length() == 3
    # Of two heads that are right half of the time each: 1, 1.5 / 1.3, 1.75 / 1.6 tokens for the cost of a pass.
    length.rates = [0.5, 0.5, 1.0]
    assert length() == 1
    length.rates = [0.5, 1.0, 1.0]
    assert length() == 3
    length.rates = [0.2, 0.2, 0.2]
    assert length() == 0


def test_heads_that_are_wrong_are_asked_less_then_more_and_in_the_end_left_out() -> None:
    length = acceptance.DraftLength(2, 0.3)
    for _ in range(8):
        length.learn(2, [2], [1])
    assert (length(), length.awake) == (1, 2)
    length.rates[1] = 1.0
    assert length() == 2
    for _ in range(30):
        length.learn(length(), [1] if length() else [0], [0])
    assert (length(), length.awake) == (0, 0)


@pytest.mark.parametrize("heads", KINDS)
def test_heads_that_are_left_out_in_the_middle_change_nothing(heads: str) -> None:
    model = trained("gpt2", heads, 3)
    ids, mask = prompts()
    words = {"attention_mask": mask, "max_new_tokens": 50, "eos_token_id": None}
    found = mtp_generate(model, ids, return_dict_in_generate=True, **words)
    assert torch.equal(found.sequences, model.generate(ids, **words))
    assert found.acceptance.drafted[2] < found.acceptance.forwards - 8
