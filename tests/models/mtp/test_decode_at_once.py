"""What is judged and written in one go is what would have been judged and written token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.generation import (
    EosTokenCriteria,
    LogitsProcessorList,
    MaxLengthCriteria,
    MinNewTokensLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
)

from hfrecipes.models.mtp.decode import mtp_generate
from hfrecipes.models.mtp.drafting import make_drafter
from hfrecipes.models.mtp.loop import Loop
from hfrecipes.models.mtp.texts import Texts

from .phrases import prompts, trained

PROMPT, NEW, WIDTH, ROWS = 3, 9, 4, 5
EOS, OTHER_EOS = 1, 2


def texts(eos: bool) -> Texts:
    criteria = StoppingCriteriaList([MaxLengthCriteria(PROMPT + NEW)])
    if eos:
        criteria.append(EosTokenCriteria([EOS, OTHER_EOS]))
    prompt = torch.full((ROWS, PROMPT), 7)
    return Texts(prompt, LogitsProcessorList(), criteria, PROMPT + NEW, WIDTH, 0 if eos else None)


@pytest.mark.parametrize("eos", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_many_tokens_are_written_as_one_by_one_up_to_an_end_of_sequence_or_the_maximum_length(
    eos: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    many, single = texts(eos), texts(eos)
    while rows := single.open_rows():
        assert many.open_rows() == rows
        tokens = torch.randint(EOS, 12, (len(rows), WIDTH), generator=random)
        numbers = torch.randint(1, WIDTH + 1, (len(rows),), generator=random).tolist()
        written = many.write_many(rows, tokens, numbers)
        for row, line, number, got in zip(rows, tokens, numbers, written, strict=True):
            before = single.lengths[row]
            for token in line[:number]:
                if row in single.open_rows():
                    single.write([row], token[None], lambda length: None)
            assert got == single.lengths[row] - before
        assert (many.lengths, many.ended) == (single.lengths, single.ended)
    assert torch.equal(many.settled(), single.settled())


@pytest.mark.parametrize(
    ("processors", "drafts", "verdicts"),
    [
        ([], True, True),
        ([TemperatureLogitsWarper(2.0)], True, True),
        ([RepetitionPenaltyLogitsProcessor(1.5)], False, False),
        ([MinNewTokensLengthLogitsProcessor(3, 4, 1, device="cpu")], False, False),
        # One of the user's does not see drafts.
        ([lambda ids, scores: scores], True, False),
    ],
)
def test_only_what_reads_no_text_is_judged_at_once(processors: list[Any], drafts: bool, verdicts: bool) -> None:
    criteria = StoppingCriteriaList([MaxLengthCriteria(9)])
    found = Texts(torch.zeros(1, 3), LogitsProcessorList(processors), criteria, 9, 2, 0)
    assert (found.drafts_at_once, found.verdicts_at_once) == (drafts, verdicts)


@pytest.mark.parametrize("criterion", [MaxLengthCriteria(5), lambda ids, scores: ids[:, -1] == 3])
def test_a_criterion_of_the_user_is_asked_token_by_token(criterion: Any) -> None:
    criteria = StoppingCriteriaList([MaxLengthCriteria(9), criterion])
    assert not Texts(torch.zeros(1, 3), LogitsProcessorList(), criteria, 9, 2, 0).verdicts_at_once


@pytest.mark.parametrize("heads", ["parallel", "chained"])
@pytest.mark.parametrize("eos_at", [None, 5])
def test_text_and_acceptance_are_those_of_judging_in_order(
    heads: str, eos_at: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, (ids, mask) = trained("llama", heads), prompts()
    words = {"attention_mask": mask, "max_new_tokens": 30, "return_dict_in_generate": True}
    if eos_at is not None:
        words["eos_token_id"] = int(
            model.generate(ids, attention_mask=mask, max_new_tokens=9)[0, ids.shape[1] + eos_at]
        )
    calls: list[int] = []
    at_once = Loop._judge_at_once
    monkeypatch.setattr(Loop, "_judge_at_once", lambda *given: calls.append(1) or at_once(*given))
    found = mtp_generate(model, ids, **words)
    assert calls
    monkeypatch.setattr(Loop, "_judge_at_once", Loop._judge_in_order)
    expected = mtp_generate(model, ids, **words)
    assert torch.equal(found.sequences, expected.sequences)
    assert found.acceptance == expected.acceptance


def test_a_mask_that_hides_nothing_of_a_single_prompt_is_left_out() -> None:
    model, (ids, mask) = trained("llama", "parallel"), prompts(1)
    given: list[Any] = []
    hook = model.model.register_forward_pre_hook(
        lambda module, args, words: given.append(words.get("attention_mask")), with_kwargs=True
    )
    mtp_generate(model, ids, attention_mask=mask, max_new_tokens=6)
    hook.remove()
    assert given
    assert all(each is None for each in given)


def test_a_token_costs_a_processor_the_more_the_more_rows_there_are() -> None:
    model = trained("llama", "parallel")
    costs = [make_drafter(model, rows).cost for rows in (1, 8, 64)]
    assert costs[0] < costs[1] < costs[2]
    assert costs[2] - costs[0] < 1, "one more token is never more than a pass over one"
