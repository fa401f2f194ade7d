"""Decoding with heads beside decoding without, on models whose drafts are known."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from hfrecipes.evaluation.decoding import measure_decoding
from hfrecipes.models.mtp.attach import add_mtp_heads
from hfrecipes.tokenization.training import train_tokenizer

PROMPTS = [[5, 6, 7], [8, 9], []]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["one two three four"] * 10, 300, folder)
    return AutoTokenizer.from_pretrained(folder)


def make_model(**more: object) -> object:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=300, max_position_embeddings=64, **shape, **more))
    model.generation_config.eos_token_id = None
    return add_mtp_heads(model, 3)


def test_a_model_that_says_the_same_for_ever_accepts_every_draft(tokenizer: object) -> None:
    model = make_model(tie_word_embeddings=False)
    with torch.no_grad():
        # Layers and heads add nothing, and all tokens are embedded alike: the same state at each place says token 7.
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                weight.zero_()
        model.get_input_embeddings().weight.fill_(1)
        model.lm_head.weight[7] = 1
    found = measure_decoding(model, tokenizer, PROMPTS, 12)
    assert (found.prompts, found.identical, found.tokens) == (2, 2, 24)
    facts = found.to_facts()
    assert facts["accepted_by_head"] == [1.0, 1.0] == facts["written_by_place"]
    assert facts["tokens_per_pass"] > 2
    assert facts["times_generate"] == pytest.approx(found.seconds["generate"] / found.seconds["mtp_generate"])


def test_random_heads_are_rejected_and_cost_no_token(tokenizer: object) -> None:
    found = measure_decoding(make_model(initializer_range=0.5), tokenizer, PROMPTS, 12)
    assert found.identical == found.prompts == 2
    assert found.forwards <= found.tokens
    assert all(accepted <= reached <= drafted for accepted, reached, drafted in _by_head(found))


def test_prompts_without_room_and_models_that_must_not_draft_give_nothing(tokenizer: object) -> None:
    assert measure_decoding(make_model(), tokenizer, [[5] * 60], 12) is None
    assert measure_decoding(make_model(), tokenizer, [[]], 12) is None
    left = make_model(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    assert measure_decoding(left, tokenizer, PROMPTS, 12) is None


def _by_head(found: object) -> zip:
    return zip(found.accepted, found.reached, found.drafted, strict=True)
