"""Drawing completions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hfrecipes.trainers.ppo import sampling as module
from hfrecipes.trainers.ppo.prompts import PromptReader
from hfrecipes.trainers.ppo.sampling import Sampling, draw, draw_uniforms, sample_completions
from hfrecipes.trainers.ppo.stop_strings import StopStrings
from tests.trainers.ppo.tiny import EOS, PAD, VOCABULARY, policy, tokenizer

PROMPTS = [[5, 9, 7], [11], [4, 8, 15, 16, 23, 42], [6, 6], [30, 31], [32], [33, 34, 35], [36]]


def often_ending() -> Any:
    model = policy().eval()
    model.lm_head.weight.data[EOS] *= 30
    return model


def plainly(model: Any, prompt: list[int], uniforms: Tensor, settings: Sampling) -> list[int]:
    """One token after the other, each from a forward pass over all that stands before it."""
    ids = list(prompt)
    for uniform in uniforms.tolist():
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].double() / settings.temperature
        shares = logits.softmax(0).cumsum(0)
        ids.append(int((shares <= uniform * float(shares[-1])).sum()))
        if ids[-1] in settings.stop_ids:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("batch_size", [8, 3])
def test_completions_are_those_drawn_one_by_one(batch_size: int) -> None:
    """With rows that end early, so that the cache is cut down on the way."""
    model, settings = often_ending(), Sampling(length=12, temperature=0.8, pad_id=PAD, stop_ids=(EOS,))
    uniforms = draw_uniforms(0, 0, len(PROMPTS), settings.length)
    with torch.no_grad():
        tokens, lengths, finished = sample_completions(model, PROMPTS, uniforms, settings, batch_size)
    expected = [plainly(model, prompt, row, settings) for prompt, row in zip(PROMPTS, uniforms, strict=True)]
    found = [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    assert found == expected
    assert finished.tolist() == [row[-1] == EOS for row in expected]
    assert int(finished.sum()) > 2
    assert all(
        token == PAD for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True) for token in row[length:]
    )


def test_the_cache_is_cut_down_as_rows_end(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    keep = module._Batch.keep_unfinished

    def watched(batch: Any) -> None:
        keep(batch)
        sizes.append(len(batch.rows))

    monkeypatch.setattr(module._Batch, "keep_unfinished", watched)
    settings = Sampling(length=12, temperature=0.8, pad_id=PAD, stop_ids=(EOS,))
    with torch.no_grad():
        sample_completions(often_ending(), PROMPTS, draw_uniforms(0, 0, 8, 12), settings, 8)
    assert min(sizes) <= 4


def test_no_number_draws_a_token_that_cannot_be() -> None:
    logits = torch.randn(1, VOCABULARY)
    logits[0, -5:] = logits[0, :3] = -torch.inf
    for uniform in (0.0, 0.5, 1 - 2**-24):
        assert 3 <= int(draw(logits, torch.tensor([uniform]))) < VOCABULARY - 5


def test_fewer_tokens_are_drawn_from_where_that_is_asked_for() -> None:
    model = policy().eval()
    for words in ({"top_k": 1}, {"top_p": 1e-6}):
        settings = Sampling(length=4, temperature=1.0, pad_id=PAD, **words)
        with torch.no_grad():
            tokens, _, _ = sample_completions(model, [[5, 6]] * 4, draw_uniforms(0, 0, 4, 4), settings, 4)
            greedy = model(input_ids=torch.tensor([[5, 6]])).logits[0, -1].argmax()
        assert tokens[:, 0].tolist() == [int(greedy)] * 4
        assert len({tuple(row) for row in tokens.tolist()}) == 1


@pytest.mark.parametrize("generate", [None, {}])
def test_a_stop_string_ends_a_completion_and_is_no_part_of_its_text(generate: dict[str, Any] | None) -> None:
    words = tokenizer()
    stops = ["w22", "w31"]
    criteria = StopStrings(words, stops)
    settings = Sampling(length=10, temperature=1.0, pad_id=PAD, stop_strings=criteria, generate=generate)
    with torch.no_grad():
        made = sample_completions(policy().eval(), PROMPTS, draw_uniforms(0, 0, 8, 10), settings, 8)
    tokens, lengths, finished = (part.tolist() for part in made)
    stopping = [22, 31]
    assert any(finished) and not all(finished)
    reader = PromptReader(words, None, None, 10)
    for row, length, ended in zip(tokens, lengths, finished, strict=True):
        assert all(token not in stopping for token in row[: length - 1])
        assert (row[length - 1] in stopping) == ended
        text = reader.texts([row[:length]], stops)[0]
        assert not any(stop in text for stop in stops)


def test_generate_gives_the_same_at_each_try_and_ends_at_the_same_tokens() -> None:
    settings = Sampling(length=8, temperature=1.0, pad_id=PAD, stop_ids=(EOS,), generate={"min_new_tokens": 3})
    model, uniforms = often_ending(), draw_uniforms(0, 0, 8, 8)
    with torch.no_grad():
        torch.manual_seed(1)
        first = sample_completions(model, PROMPTS, uniforms, settings, 8)
        state = torch.random.get_rng_state()
        second = sample_completions(model, PROMPTS, uniforms, settings, 8)
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    # The numbers of whoever else draws some are not used up.
    assert torch.equal(torch.random.get_rng_state(), state)
    tokens, lengths, finished = (part.tolist() for part in first)
    assert min(lengths) >= 3
    assert [EOS in row for row in tokens] == finished
    assert model.generation_config.eos_token_id == EOS
