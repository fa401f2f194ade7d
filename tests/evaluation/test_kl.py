"""KL between models: exact against torch's distributions, estimates against the exact, drawn tokens counted to the last."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from hfrecipes.evaluation.alignment_tax import general_rows, measure_tax
from hfrecipes.evaluation.forgetting import change_of
from hfrecipes.evaluation.kl import k1, k3, kl_estimates, last_logits, measure_kl, token_kl
from hfrecipes.evaluation.merge_drift import Drift, drift_between, log_probabilities
from hfrecipes.tokenization.tokenizer import Tokenizer

from .tiny import build_model, force_token

PROMPTS = ["Return the number", "What is", "def add(a, b):", "", "question"]


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(13, 50) * 3, torch.randn(13, 50) * 3


def adapted(seed: int = 1):
    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear", init_lora_weights=False)
    return get_peft_model(build_model("llama"), config).eval()


def test_exact_kl_is_that_of_torchs_distributions_whatever_the_blocks(logits) -> None:
    p, q = (torch.distributions.Categorical(logits=each.double()) for each in logits)
    expected = torch.distributions.kl_divergence(p, q).float()
    for block in (1, 50 * 4 * 5, 2**27):
        assert torch.allclose(token_kl(*logits, block_bytes=block), expected, rtol=1e-5)
    assert token_kl(*(each[:0] for each in logits)).shape == (0,)
    assert token_kl(logits[0].bfloat16(), logits[0].bfloat16()).abs().max() == 0


def test_what_has_no_chance_under_both_does_not_count(logits) -> None:
    p, q = logits[0].clone(), logits[1].clone()
    p[:, 0] = q[:, 0] = -torch.inf
    assert torch.allclose(token_kl(p, q), token_kl(p[:, 1:], q[:, 1:]))
    assert token_kl(p, logits[1]).isfinite().all() and token_kl(logits[1], p).isinf().all()


def test_both_estimates_are_right_on_average_and_k3_is_never_below_zero(logits) -> None:
    log_p, log_q = (each.log_softmax(-1) for each in logits)
    for estimate in (k1, k3):
        mean = (log_p.exp() * estimate(log_p, log_q)).sum(-1)
        assert torch.allclose(mean, token_kl(*logits), rtol=1e-4)
    assert k3(log_p, log_q).min() >= 0 > k1(log_p, log_q).min()


def test_a_model_is_at_no_distance_from_itself(llama, tokenizer) -> None:
    found = measure_kl(llama, llama, tokenizer, PROMPTS, max_new_tokens=6)
    assert np.abs([found.exact, found.k1, found.k3]).max() < 1e-5 and found.num_tokens.sum() > 0


def test_the_base_is_the_model_with_its_adapter_off(tokenizer) -> None:
    model = adapted()
    found = measure_kl(model, None, tokenizer, PROMPTS, max_new_tokens=6)
    apart = measure_kl(model, build_model("llama"), tokenizer, PROMPTS, max_new_tokens=6)
    assert found.exact.min() > 0.1
    assert np.allclose(found.exact, apart.exact, rtol=1e-4) and (found.num_tokens == apart.num_tokens).all()


def test_estimates_from_many_drawn_tokens_agree_with_the_exact_figure(tokenizer) -> None:
    found = measure_kl(adapted(), None, tokenizer, PROMPTS * 60, max_new_tokens=8, batch_size=100)
    exact, first, third = (figure.sum() / found.num_tokens.sum() for figure in (found.exact, found.k1, found.k3))
    spread = np.std(found.k1 - found.exact) * len(found.k1) ** 0.5 / found.num_tokens.sum()
    assert abs(first - exact) < 4 * spread and spread < 0.1 * exact
    assert third == pytest.approx(exact, rel=0.5)


def test_the_token_that_ends_a_completion_is_compared_too(llama, tokenizer) -> None:
    force_token(llama, tokenizer.eos_token_id)
    found = measure_kl(llama, build_model("llama"), tokenizer, ["Return"], max_new_tokens=6)
    assert found.num_tokens.tolist() == [1]
    ids = tokenizer("Return")["input_ids"]
    with torch.no_grad():
        log_q = build_model("llama")(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    assert found.k1[0] == pytest.approx(-log_q[tokenizer.eos_token_id].item(), rel=1e-4)


def test_prompts_without_room_are_left_out_of_the_figures(tokenizer) -> None:
    found = measure_kl(adapted(), None, tokenizer, ["word " * 200, "What is"], max_new_tokens=4)
    assert found.num_tokens[0] == 0 == found.exact[0]
    entries = kl_estimates(found, step=5)
    assert json.loads(json.dumps(entries)) == entries and {entry["n"] for entry in entries} == {1}
    assert entries[0]["value"] == pytest.approx(found.exact[1] / found.num_tokens[1])
    assert entries[3]["value"] == pytest.approx(found.exact[1])


def test_the_last_logits_are_those_of_the_whole_row(llama) -> None:
    ids = list(range(4, 24))
    with torch.no_grad():
        expected = llama(torch.tensor([ids])).logits[0, -5:]
        assert torch.allclose(last_logits(llama, ids, 5), expected, atol=1e-5)


def test_drift_is_none_for_the_same_model_and_the_whole_effect_for_the_base() -> None:
    rows = [list(range(4, 24)), list(range(30, 40))]
    model = adapted()
    trained, base = log_probabilities(model, rows), log_probabilities(build_model("llama"), rows)
    same, bare = drift_between(trained, base, trained), drift_between(trained, base, base)
    assert same.kl == same.largest == 0 and same.same_token == 1 and same.num_tokens == 30
    assert bare.share == 1 and bare.kl == bare.effect > 0.1
    assert same.is_within(0, 0) and bare.is_within(1.0, 0) and not bare.is_within(0.99, 0.0)
    assert Drift(1e-6, 0.0, 0, 1, 5).is_within(0.05, 1e-5) and not Drift(float("nan"), 1.0, 0, 1, 5).is_within(
        0.5, 1e-5
    )


def test_the_tax_is_what_general_prose_costs_more(tokenizer, tmp_path) -> None:
    tokenizer.save_pretrained(tmp_path)
    texts = (f"Sentence {number} of some prose, and what follows it." for number in range(9))
    rows = general_rows(texts, Tokenizer.load(str(tmp_path)), num_passages=6, length=32)
    assert next(texts).startswith("Sentence 6")
    assert len(rows) >= 6 and all(len(row["input_ids"]) <= 32 for row in rows)
    change = change_of(measure_tax(adapted(), None, rows, "prose"))
    apart = change_of(measure_tax(adapted(), build_model("llama"), rows, "prose"))
    assert change["before"]["value"] == pytest.approx(apart["before"]["value"], rel=1e-5)
    assert change["change"]["value"] == pytest.approx(change["after"]["value"] - change["before"]["value"])
    assert (
        change["change"]["value"] != 0
        and change_of(measure_tax(adapted(), adapted(), rows, "prose"))["change"]["value"] == 0
    )
