"""FLOPs against what the papers report, and against a count of every multiplication done by torch."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from hfrecipes.models.config import build_config
from hfrecipes.plan import flops
from hfrecipes.plan.parameters import count_parameters


@pytest.mark.parametrize(
    ("parameters", "tokens", "published", "tolerance"),
    [
        (174.6e9, 300e9, 3.14e23, 0.002),  # GPT-3, appendix D
        (405e9, 15.6e12, 3.8e25, 0.003),  # Llama 3, section 3.2
        (540e9, 780e9, 2.53e24, 0.002),  # PaLM, table 21, without attention
        (70e9, 1.4e12, 5.88e23, 0.001),  # Chinchilla
    ],
)
def test_published_training_runs(parameters: float, tokens: float, published: float, tolerance: float) -> None:
    assert flops.training_flops(parameters, tokens) == pytest.approx(published, rel=tolerance)
    per_token = flops.token_flops(int(parameters))
    assert per_token.model * tokens == pytest.approx(published, rel=tolerance)


def test_gpt3_in_petaflop_days() -> None:
    assert flops.pf_s_days(174.6e9 * 300e9 * 6) == pytest.approx(3637, abs=1)
    assert flops.pf_s_days(3.14e23) == pytest.approx(3634, abs=1)


def test_palm_with_attention() -> None:
    attention = flops.attention_flops([None] * 118, 48 * 256, 2048, causal=False)
    per_token = flops.token_flops(540_000_000_000, attention=attention)
    assert per_token.model * 780e9 == pytest.approx(2.56e24, rel=0.003)


def test_bloomberg_counts_recomputed_work() -> None:
    # 50.6B parameters, 70 layers of width 7680, 2048 tokens a row, 569B tokens; 131,072 entries in the vocabulary.
    attention = flops.attention_flops([None] * 70, 7680, 2048)
    unembedding = 131_072 * 7680
    run = flops.token_flops(50_600_000_000, attention=attention, checkpointing=True, unembedding=unembedding)
    assert flops.training_flops(50.6e9, 569e9) == pytest.approx(1.73e23, rel=0.002)
    assert run.hardware * 569e9 == pytest.approx(2.36e23, rel=0.01)


def test_hours_and_utilisation() -> None:
    llama2 = flops.training_flops(68.98e9, 2e12)
    seconds = 1_720_320 * 3600
    assert llama2 / seconds == pytest.approx(134e12, rel=0.005)
    assert flops.utilisation(llama2, seconds, 312e12) == pytest.approx(0.43, abs=0.005)
    # A common tutorial says 4,200 hours, too few by a factor of 278.
    assert flops.device_hours(flops.training_flops(7e9, 1e12), 10e12, 1.0) == pytest.approx(1_166_667, abs=1)


def test_gpt3_in_34_days_on_1024_a100() -> None:
    hours = flops.device_hours(3.14e23, 312e12, 140 / 312)
    assert hours / 1024 / 24 == pytest.approx(25.4, abs=0.3)  # without recompute; Narayanan et al. count 4/3 of it
    assert hours * 4 / 3 / 1024 / 24 == pytest.approx(34, abs=0.3)


def test_adapter_skips_the_gradients_of_frozen_weights() -> None:
    base, adapter = 1_000, 10
    run = flops.token_flops(base + adapter, adapter)
    assert run.model == 4 * base + 6 * adapter
    assert flops.token_flops(base).forward == 2 * base


def test_attention_halves_under_a_causal_mask_and_shrinks_under_a_window() -> None:
    assert flops.attention_flops([None] * 3, 64, 128, causal=False) * 3 == 12 * 3 * 64 * 128
    assert flops.attention_flops([None] * 3, 64, 128) * 3 == 6 * 3 * 64 * 128
    assert flops.attended_tokens(100, 100) == flops.attended_tokens(100)
    assert flops.attended_tokens(100, 400) == flops.attended_tokens(100)
    exact = sum(min(position + 1, 32) for position in range(1024)) / 1024
    assert flops.attended_tokens(1024, 32) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize("arguments", [(10, 11), (10, -1)])
def test_more_trained_than_there_are(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="trainable_matmul"):
        flops.token_flops(*arguments)


def test_bad_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="utilisation"):
        flops.device_hours(1.0, 1.0, 0.0)
    with pytest.raises(ValueError, match="peak_flops"):
        flops.device_hours(1.0, 0.0, 0.5)
    with pytest.raises(ValueError, match="sequence_length"):
        flops.attended_tokens(0)


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "qwen3"])
def test_against_a_count_of_every_product(model_type: str, tiny_configs: dict[str, dict]) -> None:
    """torch counts the multiplications of a real forward and backward pass."""
    config = build_config(tiny_configs[model_type])
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    rows, length = 2, 32
    ids = torch.randint(0, 64, (rows, length))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    count = count_parameters(config)
    attention = flops.attention_flops([None] * 2, 64, length, causal=False)
    expected = flops.token_flops(count.matmul, count.trainable_matmul, attention).model * rows * length
    # torch counts, beyond this, the rotary frequencies' outer product; no more than one percent of so small a model.
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)
