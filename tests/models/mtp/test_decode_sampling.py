"""Samples of mtp_generate are distributed as the model says, counted against every text that it can write."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from hfrecipes.models.mtp import drafting, loop
from hfrecipes.models.mtp.attach import add_mtp_heads
from hfrecipes.models.mtp.decode import mtp_generate
from hfrecipes.models.mtp.verify import Verdict, verify_greedy, verify_sampling

from .families import build

VOCABULARY, NEW, SAMPLES, BATCH = 4, 4, 20_000, 2_000
PROMPT = (1, 3, 2)
SETTINGS = [
    {"temperature": 0.7},
    {"temperature": 1.0},
    {"temperature": 1.5},
    {"top_p": 0.9},
    {"repetition_penalty": 1.5},
]


@pytest.fixture(autouse=True)
def full_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    # So many rows are too much work for a draft to pay, and without drafts these tests would say nothing.
    monkeypatch.setattr(drafting.Drafter, "cost", 0.0)


def tiny(heads: str) -> Any:
    model = build("llama", vocab_size=VOCABULARY, num_hidden_layers=2)
    # Its choices are spread enough that each text is met.
    model.lm_head.weight.data *= 8
    model = add_mtp_heads(model, 4, heads)
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, None
    return model.eval()


@torch.no_grad()
def exact(
    model: Any, temperature: float = 1.0, top_p: float = 1.0, repetition_penalty: float = 1.0
) -> dict[tuple[int, ...], float]:
    """The probability of each text, from its logits alone."""
    texts = list(product(range(VOCABULARY), repeat=NEW))
    ids = torch.tensor([(*PROMPT, *text) for text in texts])
    logits = model(input_ids=ids).logits[:, len(PROMPT) - 1 : -1]
    for step in range(NEW):
        said = torch.nn.functional.one_hot(ids[:, : len(PROMPT) + step], VOCABULARY).amax(1).bool()
        lower = torch.where(logits[:, step] > 0, 1 / repetition_penalty, repetition_penalty)
        logits[:, step] *= torch.where(said, lower, 1.0)
    probabilities = (logits / temperature).softmax(-1)
    ordered, order = probabilities.sort(-1, descending=True)
    ordered = ordered * (ordered.cumsum(-1) - ordered < top_p)
    kept = torch.zeros_like(probabilities).scatter(-1, order, ordered)
    kept = kept / kept.sum(-1, keepdim=True)
    chances = kept.gather(-1, ids[:, len(PROMPT) :, None]).squeeze(-1).prod(-1)
    return dict(zip(texts, chances.tolist(), strict=True))


def drawn(model: Any, **words: Any) -> Counter[tuple[int, ...]]:
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(SAMPLES // BATCH):
        ids = torch.tensor([PROMPT])
        given = {"do_sample": True, "max_new_tokens": NEW, "num_return_sequences": BATCH, "top_k": 0, **words}
        counts.update(map(tuple, mtp_generate(model, ids, **given)[:, len(PROMPT) :].tolist()))
    return counts


def p_value(counts: Counter[tuple[int, ...]], chances: dict[tuple[int, ...], float]) -> float:
    """Of Pearson's chi-square; texts that are expected fewer than ten times count as one."""
    assert not [text for text in counts if not chances[text]], "texts that cannot be"
    cells = [(counts[text], chance * SAMPLES) for text, chance in chances.items() if chance * SAMPLES >= 10]
    rest = [(counts[text], chance * SAMPLES) for text, chance in chances.items() if 0 < chance * SAMPLES < 10]
    if rest:
        cells.append((sum(seen for seen, _ in rest), sum(expected for _, expected in rest)))
    statistic = sum((seen - expected) ** 2 / expected for seen, expected in cells)
    half = torch.tensor([(len(cells) - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


@pytest.mark.parametrize("heads", ["parallel", "chained"])
@pytest.mark.parametrize("words", SETTINGS, ids=str)
def test_samples_are_of_the_exact_distribution(heads: str, words: dict[str, float]) -> None:
    torch.manual_seed(11)
    model = tiny(heads)
    assert p_value(drawn(model, **words), exact(model, **words)) > 0.01


def test_the_test_sees_drafts_that_stay_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    def easy(scores: Tensor, drafted: Tensor | None = None, proposed: Tensor | None = None) -> Verdict:
        verdict = verify_sampling(scores, drafted, proposed)
        if drafted is None:
            return verdict
        stays = verdict.accepted | (torch.rand(len(drafted)) < 0.1)
        return Verdict(torch.where(stays, drafted, verdict.tokens), stays)

    monkeypatch.setattr(loop, "verify_sampling", easy)
    torch.manual_seed(12)
    model = tiny("parallel")
    assert p_value(drawn(model), exact(model)) < 1e-6


def test_drafts_are_accepted_and_rejected_in_these_tests() -> None:
    torch.manual_seed(13)
    words = {"do_sample": True, "max_new_tokens": NEW, "num_return_sequences": 200, "return_dict_in_generate": True}
    found = mtp_generate(tiny("parallel"), torch.tensor([PROMPT]), **words).acceptance
    assert 0.1 < sum(found.accepted) / sum(found.reached) < 0.95


def test_one_place_alone_is_of_the_exact_distribution_where_the_draft_is_never_wanted() -> None:
    torch.manual_seed(14)
    scores = torch.tensor([[0.5, 0.3, 0.2, 0.0]]).log().expand(SAMPLES, -1)
    proposed = torch.tensor([[0.1, 0.1, 0.2, 0.6]]).expand(SAMPLES, -1)
    verdict = verify_sampling(scores, torch.multinomial(proposed, 1)[:, 0], proposed)
    counts = Counter((int(token),) for token in verdict.tokens)
    assert p_value(counts, {(0,): 0.5, (1,): 0.3, (2,): 0.2, (3,): 0.0}) > 0.01
    # Of each token as often as the smaller of both says.
    assert verdict.accepted.float().mean().item() == pytest.approx(0.1 + 0.1 + 0.2, abs=0.015)


def test_a_draft_that_the_model_would_draw_as_often_always_stays() -> None:
    probabilities = torch.rand(500, 7).softmax(-1)
    drafted = torch.multinomial(probabilities, 1)[:, 0]
    verdict = verify_sampling(probabilities.log(), drafted, probabilities)
    # Up to the rounding of a softmax of logarithms.
    assert verdict.accepted.float().mean() > 0.99
    assert not verify_sampling(probabilities.log()).accepted.any()


def test_greedy_verdicts_are_the_best_tokens() -> None:
    scores = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    verdict = verify_greedy(scores, torch.tensor([1, 2]))
    assert verdict.tokens.tolist() == [1, 0]
    assert verdict.accepted.tolist() == [True, False]
