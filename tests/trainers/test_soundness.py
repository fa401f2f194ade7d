"""The look at a model before it is saved: a healthy one always passes, however young, small or large its vocabulary."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForSequenceClassification

from hfrecipes.trainers.guarded import DIVERGED
from hfrecipes.trainers.soundness import unsound_forward, unsound_reward
from tests.trainers.conftest import SIZES


def found(model: Any, vocabulary: int, length: int = 40) -> str | None:
    ids = torch.randint(vocabulary, (length,), generator=torch.Generator().manual_seed(0)).tolist()
    row = {"input_ids": ids, "labels": [-100, *ids[1:]]}
    return unsound_forward(model, row, DIVERGED * math.log(vocabulary), "cpu")


@pytest.mark.parametrize("vocabulary", [100, 150_000])
@pytest.mark.parametrize("model_type", SIZES)
def test_a_fresh_model_is_sound(model_type: str, vocabulary: int, tiny_model: Callable) -> None:
    model = tiny_model(model_type, vocab_size=vocabulary)
    assert found(model, vocabulary) is None
    assert found(model, vocabulary, length=2) is None
    assert found(model.to(torch.bfloat16), vocabulary) is None


def test_an_adapter_is_sound_until_a_step_throws_it_away(tiny_model: Callable) -> None:
    settings = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules="all-linear")
    model = get_peft_model(tiny_model("qwen2", vocab_size=100, tie_word_embeddings=False), settings)
    assert found(model, 100) is None
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(weight.sign() * 1e4 + 1e4)
    assert "every token the same score" in (found(model, 100) or "")


@pytest.mark.parametrize("factor", [1.0, 3.0, 30.0])
def test_a_model_that_is_merely_wrong_is_not_stopped(factor: float, tiny_model: Callable) -> None:
    """Scores that are sure of the wrong tokens cost a few times what guessing does."""
    model = tiny_model("llama", vocab_size=100, tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.mul_(factor)
    assert found(model, 100) is None
    with torch.no_grad():
        model.lm_head.weight.mul_(1e4)
    assert "more than 46.1" in (found(model, 100) or "")


def test_preferences_of_trl_are_read_by_their_chosen_answer(tiny_model: Callable) -> None:
    model, row = tiny_model(), {"prompt_ids": [5, 6], "chosen_ids": [7, 8, 9], "rejected_ids": [3]}
    assert unsound_forward(model, row, 10.0, "cpu") is None
    assert "more than 0.1" in (unsound_forward(model, row, 0.1, "cpu") or "")
    assert "more than 0.1" in (unsound_forward(model, {"chosen_ids": [7, 8, 9]}, 0.1, "cpu") or "")


def test_a_reward_is_a_number_of_bounded_size_that_depends_on_the_answer() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = AutoConfig.for_model("llama", vocab_size=100, num_labels=1, pad_token_id=0, **sizes)
    model, answers = AutoModelForSequenceClassification.from_config(config), [[5, 6, 7], [5, 6, 8]]
    assert unsound_reward(model, answers, 1e4, "cpu") is None
    with torch.no_grad():
        model.score.weight.mul_(1e9)
    assert "more than 1e+04 in size" in (unsound_reward(model, answers, 1e4, "cpu") or "")
    with torch.no_grad():
        model.score.weight.mul_(1e-9)
        model.model.norm.weight.zero_()
    assert "whatever the answer" in (unsound_reward(model, answers, 1e4, "cpu") or "")


def test_a_row_without_loss_condemns_nobody(tiny_model: Callable) -> None:
    """Its loss is the mean of nothing, which is no number."""
    row = {"input_ids": [5, 6, 7], "labels": [5, -100, -100]}
    assert unsound_forward(tiny_model(), row, 1.0, "cpu") is None
