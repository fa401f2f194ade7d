"""Everything that can end, forbid or watch a token does so as under `generate`, drafts or none."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast
from transformers.generation import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from hfrecipes.models.mtp.decode import mtp_generate
from hfrecipes.tokenization.training import train_tokenizer

from .phrases import EOS, PAD, prompts, trained

NEW = 24


@pytest.fixture(params=("parallel", "chained"))
def model(request: pytest.FixtureRequest) -> Any:
    return trained("llama", request.param)


@pytest.fixture(params=(1, 4))
def words(request: pytest.FixtureRequest) -> dict[str, Any]:
    ids, mask = prompts()
    rows = request.param
    return {"inputs": ids[:rows], "attention_mask": mask[:rows], "max_new_tokens": NEW}


def written(model: Any, words: dict[str, Any]) -> Tensor:
    return model.generate(**words)[:, words["inputs"].shape[1] :]


def same(model: Any, **words: Any) -> Tensor:
    """What both write, once it is the same."""
    expected, found = model.generate(**words), mtp_generate(model, **words)
    assert torch.equal(found, expected)
    return found[:, words["inputs"].shape[1] :]


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4, 9])
def test_an_end_of_sequence_inside_a_draft_ends_its_row(model: Any, words: dict[str, Any], place: int) -> None:
    eos = int(written(model, words)[0, place])
    row = same(model, eos_token_id=[eos, EOS], **words)[0].tolist()
    assert eos in row[: place + 1]
    assert set(row[row.index(eos) + 1 :]) <= {PAD}


@pytest.mark.parametrize("length", range(1, 8))
def test_the_maximum_length_cuts_a_draft(model: Any, words: dict[str, Any], length: int) -> None:
    assert same(model, **{**words, "max_new_tokens": length}).shape[1] == length


@pytest.mark.parametrize(
    "rule",
    [
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 2},
        {"encoder_repetition_penalty": 1.5},
        {"exponential_decay_length_penalty": (3, 1.5)},
        {"forced_eos_token_id": EOS},
        {"renormalize_logits": True},
        {"begin_suppress_tokens": list(range(5, 30))},
    ],
    ids=lambda rule: next(iter(rule)),
)
def test_processors_change_the_text_as_under_generate(model: Any, words: dict[str, Any], rule: dict[str, Any]) -> None:
    found = same(model, **rule, **words)
    if "renormalize_logits" not in rule:
        assert not torch.equal(found, written(model, words)), "the rule did nothing, so the test says nothing"


def test_bad_words_are_never_written(model: Any, words: dict[str, Any]) -> None:
    bad = written(model, words)[0, 2:4].tolist()
    found = same(model, bad_words_ids=[bad, bad[:1]], **words)
    assert bad[0] not in found.flatten().tolist()


def test_a_minimum_of_new_tokens_holds_back_the_end(model: Any, words: dict[str, Any]) -> None:
    eos = int(written(model, words)[0, 1])
    found = same(model, eos_token_id=eos, min_new_tokens=7, **words)
    assert eos not in found[:, :7].flatten().tolist()


def test_allowed_tokens_are_asked_for_each_row(model: Any, words: dict[str, Any]) -> None:
    def allowed(row: int, tokens: Tensor) -> list[int]:
        return list(range(5 + row % 2, 60, 2))

    found = same(model, prefix_allowed_tokens_fn=allowed, **words)
    assert all(set(part.tolist()) <= {*range(5 + row % 2, 60, 2)} for row, part in enumerate(found))


@pytest.mark.parametrize(
    "given",
    [
        {"attention_mask": torch.tensor([[1, 1, 1, 0, 1, 1, 1, 1, 1], [1] * 8 + [0]])},
        {"position_ids": torch.arange(9)[None].repeat(2, 1) * 2},
        {"generation_config": GenerationConfig(max_new_tokens=NEW, pad_token_id=PAD, eos_token_id=EOS)},
        {"max_length": 20},
    ],
    ids=lambda given: next(iter(given)),
)
def test_masks_positions_and_settings_of_the_user_hold(model: Any, given: dict[str, Any]) -> None:
    length = {} if {"generation_config", "max_length"} & set(given) else {"max_new_tokens": NEW}
    same(model, inputs=prompts(2)[0], **given, **length)


def test_without_a_prompt_both_begin_with_the_first_token(model: Any) -> None:
    expected, found = (
        call(max_new_tokens=9, bos_token_id=7) for call in (model.generate, partial(mtp_generate, model))
    )
    assert torch.equal(found, expected)


class Counting(LogitsProcessor):
    """Forbids another token with each call, and so must be called for each token once and in order."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self.lengths.append(input_ids.shape[1])
        scores[:, 5 + len(self.lengths) % 50] = -torch.inf
        return scores


class AfterSome(StoppingCriteria):
    """Ends a row whose last tokens sum up to a multiple."""

    def __init__(self, divisor: int) -> None:
        self.divisor, self.lengths = divisor, []

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.lengths.append(input_ids.shape[1])
        return input_ids[:, -3:].sum(1) % self.divisor == 0


def test_processors_and_criteria_of_the_user_see_each_length_once_and_in_order(model: Any) -> None:
    ids = prompts()[0][:1]
    seen = []
    for call in (model.generate, partial(mtp_generate, model)):
        processor, criterion = Counting(), AfterSome(10_000)
        text = call(
            ids,
            max_new_tokens=NEW,
            logits_processor=LogitsProcessorList([processor]),
            stopping_criteria=StoppingCriteriaList([criterion]),
        )
        seen.append((text.tolist(), processor.lengths, criterion.lengths))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("eos", [None, 3])
@pytest.mark.parametrize("divisor", [2, 7])
def test_criteria_of_the_user_end_rows_with_and_without_an_end_of_sequence(
    model: Any, words: dict[str, Any], eos: int | None, divisor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without such a token, generate goes on writing rows that have ended until the last one has.
    monkeypatch.setattr(model.generation_config, "eos_token_id", eos)
    same(model, stopping_criteria=StoppingCriteriaList([AfterSome(divisor)]), **words)


class Kept(BaseStreamer):
    def __init__(self) -> None:
        self.put_in: list[list[int]] = []
        self.ended = 0

    def put(self, value: Tensor) -> None:
        self.put_in.append(value.tolist())

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("eos_at", [None, 6])
def test_a_streamer_gets_prompt_tokens_and_end_as_under_generate(
    model: Any, words: dict[str, Any], eos_at: int | None
) -> None:
    eos = EOS if eos_at is None else int(written(model, words)[0, eos_at])
    expected, found, custom = Kept(), Kept(), Kept()
    model.generate(streamer=expected, eos_token_id=eos, **words)
    mtp_generate(model, streamer=found, eos_token_id=eos, **words)
    model.generate(custom_generate=mtp_generate, streamer=custom, eos_token_id=eos, **words)
    assert found.put_in == custom.put_in == expected.put_in
    assert found.ended == custom.ended == expected.ended == 1


def test_a_streamer_is_fed_once_where_generate_takes_over(model: Any) -> None:
    expected, found = Kept(), Kept()
    words = {"inputs": prompts()[0][:1], "max_new_tokens": 5, "use_cache": False}
    model.generate(streamer=expected, **words)
    mtp_generate(model, streamer=found, **words)
    assert found.put_in == expected.put_in


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    # Ids below 97 of a byte-level vocabulary: special tokens and printable characters.
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["x"], 300, folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def test_stop_strings_end_a_row_wherever_they_are_said(
    model: Any, words: dict[str, Any], tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = tokenizer.decode(written(model, words)[0, 3:5])
    given = {**words, "tokenizer": tokenizer}
    found = same(model, stop_strings=stop, **given)
    assert found.shape[1] < NEW or len(found) > 1
    expected = model.generate(stop_strings=stop, **given)
    config = model.generation_config
    assert torch.equal(model.generate(custom_generate=mtp_generate, stop_strings=stop, **given), expected)
    with_stop = type(config)(**{**config.to_dict(), "stop_strings": [stop], "max_new_tokens": NEW})
    given.pop("max_new_tokens")
    assert torch.equal(mtp_generate(model, generation_config=with_stop, **given), expected)
    assert with_stop.stop_strings == [stop]
    monkeypatch.setattr(config, "stop_strings", stop)
    assert torch.equal(mtp_generate(model, max_new_tokens=NEW, **given), expected)
    with pytest.raises(ValueError, match="tokenizer"):
        mtp_generate(model, **words)
