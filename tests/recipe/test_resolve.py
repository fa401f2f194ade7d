"""What a recipe leaves open is decided from the hardware, exactly, and written down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe, check_words
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.resolve import resolve, split_batch

CPU = Hardware("cpu", "a CPU", 1, 2**34, bf16=False, flash_attention=False)
GPU = Hardware("cuda", "a GPU", 8, 80 * 2**30, bf16=True, flash_attention=True)
SOURCE = [{"name": "python_docstrings", "split": "train"}]


def make(kind: str = "sft", training: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    values = {
        "kind": kind,
        "model": {"name_or_path": "a/b"},
        "data": {"train": SOURCE},
        "training": training or {},
        **sections,
    }
    return check_words(values, Path("my.yaml"))


@given(st.integers(1, 512), st.integers(1, 16), st.integers(1, 64))
def test_a_batch_is_divided_exactly_or_refused(total: int, world_size: int, micro: int) -> None:
    recipe = make(training={"global_batch_size": total, "per_device_train_batch_size": micro})
    try:
        split = split_batch(recipe, CPU, world_size)
    except RecipeError:
        assert total % (world_size * micro)
    else:
        assert split.global_batch_size == total == world_size * split.micro_batch_size * split.accumulation_steps


@given(st.integers(1, 512), st.integers(1, 16))
def test_the_micro_batch_that_is_left_open_divides(total: int, world_size: int) -> None:
    recipe = make(training={"global_batch_size": total * world_size})
    split = split_batch(recipe, CPU, world_size)
    assert total * world_size == world_size * split.micro_batch_size * split.accumulation_steps
    assert 1 <= split.micro_batch_size <= 8


def test_the_refusal_names_numbers_that_would_do() -> None:
    recipe = make(training={"global_batch_size": 14, "per_device_train_batch_size": 4})
    with pytest.raises(RecipeError, match=r"could be 1, 2, 7, 14; global_batch_size 12 or 16"):
        split_batch(recipe, CPU)
    with pytest.raises(RecipeError, match=r"12 or 16 would do"):
        split_batch(make(training={"global_batch_size": 14}), CPU, 4)


def test_transformers_own_words_give_the_global_batch() -> None:
    recipe = make(training={"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3})
    resolved = resolve(recipe, CPU, world_size=4)
    assert resolved.get("training.global_batch_size") == 24
    assert resolved.get("training.gradient_accumulation_steps") is None


def test_packing_without_a_kernel_for_it_takes_one_row_at_a_time() -> None:
    training = {"packing": True, "global_batch_size": 16}
    assert split_batch(make(training=training), CPU).micro_batch_size == 1
    flash = make(training=training, model={"name_or_path": "a/b", "attn_implementation": "flash_attention_2"})
    assert split_batch(flash, GPU).micro_batch_size == 8


@pytest.mark.parametrize(
    ("hardware", "kind", "bf16", "checkpointing", "dtype"),
    [
        (CPU, "sft", False, False, "float32"),
        (GPU, "sft", True, True, "float32"),
        (GPU, "pretrain", True, False, "float32"),
        (replace(GPU, bf16=False), "sft", False, True, "float32"),
    ],
)
def test_precision_follows_the_hardware(
    hardware: Hardware, kind: str, bf16: bool, checkpointing: bool, dtype: str
) -> None:
    resolved = resolve(make(kind), hardware)
    assert resolved.get("training.bf16") is bf16
    assert resolved.get("training.gradient_checkpointing") is checkpointing
    assert resolved.get("model.dtype") == dtype


def test_frozen_weights_are_kept_in_half_precision() -> None:
    assert resolve(make(adapter={"method": "lora"}), GPU).get("model.dtype") == "bfloat16"
    assert resolve(make(adapter={"method": "lora"}), CPU).get("model.dtype") == "float32"


@pytest.mark.parametrize("hardware", [CPU, GPU])
@pytest.mark.parametrize("kind", ["sft", "pretrain"])
def test_resolving_twice_changes_nothing(hardware: Hardware, kind: str) -> None:
    data = {"train": SOURCE, "eval": SOURCE}
    once = resolve(make(kind, data=data, training={"global_batch_size": 16}), hardware, 2)
    again = resolve(check_words(once.values, Path("my.yaml")), hardware, 2)
    assert again.values == once.values


def test_what_the_recipe_says_stays() -> None:
    said = {"bf16": False, "gradient_checkpointing": False, "seed": 7, "max_length": 99, "eval_strategy": "no"}
    resolved = resolve(make(training=said, data={"train": SOURCE, "eval": SOURCE}), GPU)
    assert {word: resolved.get(f"training.{word}") for word in said} == said
    assert resolved.get("training.eval_steps") is None


@pytest.mark.parametrize(
    ("section", "filled", "rate"),
    [
        (None, None, 2e-5),
        ({"method": "lora"}, {"target_modules": "all-linear"}, 2e-4),
        ({"method": "ia3"}, {}, 3e-3),
        ({"method": "prompt"}, {"num_virtual_tokens": 20}, 3e-2),
        ({"method": "bottleneck", "r": 8}, {"nonlinearity": "gelu", "after": ["attention", "mlp"]}, 3e-4),
    ],
)
def test_each_method_has_words_and_a_rate_of_its_own(section: dict | None, filled: dict | None, rate: float) -> None:
    resolved = resolve(make(adapter=section), GPU)
    assert resolved.get("adapter") == (None if section is None else {**section, **filled})
    assert resolved.get("training.learning_rate") == rate
    assert resolve(make(adapter=section, training={"learning_rate": 0.5}), GPU).get("training.learning_rate") == 0.5


def test_a_prefix_is_not_recomputed_and_leaves_room_in_the_row() -> None:
    assert resolve(make(adapter={"method": "lora"}), GPU).get("training.gradient_checkpointing") is True
    config = {"model_type": "llama", "max_position_embeddings": 128}
    model = {"config": config, "tokenizer": {"vocab_size": 300}}
    resolved = resolve(make(model=model, adapter={"method": "prefix", "num_virtual_tokens": 8}), GPU)
    assert resolved.get("training.gradient_checkpointing") is False
    assert resolved.get("training.max_length") == 120


def test_four_bits_are_those_of_qlora(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = make(adapter={"method": "lora"}, quantization={"load_in_4bit": True})
    section = resolve(recipe, GPU).get("quantization")
    assert section["bnb_4bit_quant_type"] == "nf4" and section["bnb_4bit_use_double_quant"] is True
    assert section["bnb_4bit_compute_dtype"] == "bfloat16" and "bnb_4bit_quant_storage" not in section
    assert resolve(recipe, CPU).get("quantization.bnb_4bit_compute_dtype") == "float32"
    said = {"load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}
    assert resolve(make(quantization=said), GPU).get("quantization.bnb_4bit_quant_type") == "fp4"
    assert resolve(make(quantization={"load_in_8bit": True}), GPU).get("quantization") == {"load_in_8bit": True}
    # FSDP shards what is stored, which has to be of the type that is computed in (axolotl#1482).
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert resolve(recipe, GPU).get("quantization.bnb_4bit_quant_storage") == "bfloat16"


def test_what_ia3_scales_on_quantized_weights_stays_in_float32() -> None:
    quantized = {"quantization": {"load_in_8bit": True}}
    assert resolve(make(adapter={"method": "ia3"}, **quantized), GPU).get("model.dtype") == "float32"
    assert resolve(make(adapter={"method": "ia3"}), GPU).get("model.dtype") == "bfloat16"
    assert resolve(make(adapter={"method": "lora"}, **quantized), GPU).get("model.dtype") == "bfloat16"
