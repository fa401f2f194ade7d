"""Parallel heads that are asked now and then read later what they have missed, and draft what they would have drafted."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hfrecipes.models.mtp import drafting, slots
from hfrecipes.models.mtp.acceptance import DraftLength
from hfrecipes.models.mtp.decode import mtp_generate
from hfrecipes.models.mtp.loop import Loop

from .phrases import prompts, trained

# Heads that are asked, pass by pass.
LENGTHS = (1, 3, 0, 2, 1, 1, 0, 3, 2)


@pytest.fixture
def fixed_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = DraftLength.begin

    def next_turn(self: DraftLength) -> None:
        self.turn = getattr(self, "turn", -1) + 1
        begin(self)

    def goes_on(self: DraftLength) -> bool:
        return len(self._sureness) < LENGTHS[self.turn % len(LENGTHS)]

    monkeypatch.setattr(DraftLength, "begin", next_turn)
    monkeypatch.setattr(DraftLength, "goes_on", goes_on)
    monkeypatch.setattr(DraftLength, "learn", lambda *given: None)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Widths of what heads read, call by call."""
    widths: list[int] = []
    run = drafting.ParallelDrafter._read

    def read(self: Any, head: int) -> Any:
        made = run(self, head)
        widths.append(made.shape[1])
        return made

    monkeypatch.setattr(drafting.ParallelDrafter, "_read", read)
    return widths


@pytest.fixture
def drafts(monkeypatch: pytest.MonkeyPatch) -> list[list[list[int]]]:
    """Pass by pass, by row."""
    made: list[list[list[int]]] = []
    draft = Loop._draft

    def record(self: Loop, *given: Any) -> None:
        draft(self, *given)
        made.append(self.drafts.tolist())

    monkeypatch.setattr(Loop, "_draft", record)
    return made


@pytest.mark.parametrize(
    ("family", "attention"),
    [("llama", "sdpa"), ("llama", "eager"), ("gpt2", "sdpa"), ("gemma2", "eager"), ("gpt_neox", "sdpa")],
)
@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.usefixtures("fixed_lengths")
def test_a_head_that_reads_later_drafts_as_one_that_reads_every_pass(
    family: str, attention: str, rows: int, counted: list[int], drafts: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_FEW_DEAD", 3)
    model, (ids, mask) = trained(family, "parallel"), prompts(rows)
    before = model.config._attn_implementation
    if attention != before:
        model.set_attn_implementation(attention)
    try:
        words = {"attention_mask": mask, "max_new_tokens": 36, "return_dict_in_generate": True, "eos_token_id": None}
        found = mtp_generate(model, ids, **words)
        lazy, drafted = list(counted), list(drafts)
        drafts.clear()
        monkeypatch.setattr(drafting, "can_wait", lambda *given: False)
        expected = mtp_generate(model, ids, **words)
    finally:
        if attention != before:
            model.set_attn_implementation(before)
    assert len(counted) == len(lazy), "heads that cannot wait read each pass"
    assert max(lazy[1:]) > 4, "nobody had missed anything"
    assert drafted == drafts
    assert sum(found.acceptance.accepted), "all drafts were wrong"
    assert torch.equal(found.sequences, expected.sequences)


@pytest.mark.usefixtures("fixed_lengths")
def test_rows_that_end_leave_what_heads_have_not_read() -> None:
    model, (ids, mask) = trained("llama", "parallel"), prompts()
    words = {"attention_mask": mask, "max_new_tokens": 30}
    eos = int(model.generate(ids, **words, eos_token_id=None)[0, ids.shape[1] + 4])
    expected = model.generate(ids, **words, eos_token_id=eos)
    assert len({int((row == eos).nonzero()[0]) if (row == eos).any() else -1 for row in expected}) > 1
    assert torch.equal(mtp_generate(model, ids, **words, eos_token_id=eos), expected)


def test_what_is_returned_may_be_used_with_autograd() -> None:
    model, ids = trained("llama", "parallel"), prompts(1)[0]
    words = {"output_scores": True, "output_logits": True, "return_dict_in_generate": True}
    found = mtp_generate(model, ids, max_new_tokens=8, **words)
    layers = found.past_key_values.layers
    for each in (found.sequences, *found.scores, *found.logits, *(layer.keys for layer in layers), layers[0].values):
        assert not each.is_inference()


def test_after_an_unsure_head_no_further_one_is_asked() -> None:
    length = DraftLength(3, 0.2)
    length.rates = [0.6, 0.8, 0.8]
    asked = []
    for probabilities in ([0.9], [0.01], [0.9, 0.9, 0.01]):
        length.begin()
        assert length.goes_on()
        length.add(probabilities)
        asked.append(length.goes_on())
    # Of three rows, two that are sure are worth going on.
    assert asked == [True, False, True]


def test_how_sure_a_head_is_counts_beside_how_sure_it_mostly_is() -> None:
    length = DraftLength(2, 0.3)
    for _ in range(40):
        length.begin()
        length.add([0.04])
        length.learn(1, [1], [1])
    length.rates = [1.0, 0.7]
    length.begin()
    length.add([0.04])
    assert length.goes_on(), "it is right though it never is sure"
    length.begin()
    length.add([0.001])
    assert not length.goes_on()


@pytest.mark.parametrize("heads", ["parallel", "chained"])
def test_a_draft_costs_less_once_rows_have_left(heads: str) -> None:
    drafter = drafting.make_drafter(trained("llama", heads), 8)
    before = drafter.cost
    drafter.select(torch.tensor([2]))
    assert 0 < drafter.cost < before
