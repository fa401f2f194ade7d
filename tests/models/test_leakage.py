"""The check that packed documents do not see each other: what it passes, what it catches, and what it leaves behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from hfrecipes.models.leakage import LeakageError, check_no_leakage
from hfrecipes.objectives.clm import PackedCollator

POSITIONS, LENGTHS = ("input_ids", "labels", "position_ids"), ("input_ids", "labels", "seq_lengths")
KEEPING_APART = ("llama", "qwen2", "gpt2", "gemma", "qwen3", "olmo2", "mistral", "mixtral")


def build(model_type: str, **words: Any) -> Any:
    torch.manual_seed(0)
    heads = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes = {
        "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
        "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
        "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
        "bert": {**heads, "intermediate_size": 64},
        "opt": {**heads, "ffn_dim": 64, "word_embed_proj_dim": 32},
    }.get(model_type, {**heads, "intermediate_size": 64, "num_key_value_heads": 2})
    sizes |= {"head_dim": 8} if model_type in ("gemma", "qwen3") else {}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(model_type, vocab_size=300, **special, **sizes, **words)
    )


@pytest.fixture(params=["ours", "trl"])
def packing(request: pytest.FixtureRequest) -> tuple[Any, tuple[str, ...]]:
    """A collator that keeps documents apart, and the columns of its rows."""
    if request.param == "ours":
        return PackedCollator(0), POSITIONS
    return DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True), LENGTHS


@pytest.mark.parametrize("model_type", KEEPING_APART)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_architectures_that_read_positions_pass_with_both_collators(model_type, dtype, packing):
    collator, columns = packing
    check_no_leakage(build(model_type).to(dtype), collator, columns, use_cache=False)


@pytest.mark.parametrize("model_type", KEEPING_APART)
def test_the_cache_that_configs_switch_on_is_caught(model_type, packing):
    collator, columns = packing
    model = build(model_type)
    assert model.config.use_cache is True
    with pytest.raises(LeakageError, match="use_cache=True") as caught:
        check_no_leakage(model, collator, columns)
    assert caught.value.causes == ("use_cache",)
    model.config.use_cache = False
    check_no_leakage(model, collator, columns)


def whole_row_mask(collator):
    def collate(rows):
        batch = collator(rows)
        return {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}

    return collate


def running_positions(collator):
    def collate(rows):
        batch = collator(rows)
        running = torch.arange(batch["input_ids"].shape[1]).expand_as(batch["input_ids"])
        return {"input_ids": batch["input_ids"], "labels": batch["labels"], "position_ids": running}

    return collate


def no_positions(collator):
    def collate(rows):
        batch = collator(rows)
        return {"input_ids": batch["input_ids"], "labels": batch["labels"]}

    return collate


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gpt2", "gemma"])
@pytest.mark.parametrize(
    ("spoil", "cause"),
    [(whole_row_mask, "attention_mask"), (running_positions, "position_ids"), (no_positions, "position_ids")],
)
def test_a_wrong_collator_is_caught_and_told_what_to_mend(model_type, spoil, cause, packing):
    collator, columns = packing
    with pytest.raises(LeakageError, match="does not keep packed documents apart") as caught:
        check_no_leakage(build(model_type), spoil(collator), columns, use_cache=False)
    assert caught.value.causes == (cause,)
    assert cause in str(caught.value)
    assert all(fix in str(caught.value) for fix in caught.value.fixes)


def test_faults_that_come_together_are_all_named(packing):
    collator, columns = packing
    with pytest.raises(LeakageError) as caught:
        check_no_leakage(build("llama"), whole_row_mask(running_positions(collator)), columns)
    assert set(caught.value.causes) == {"position_ids", "attention_mask", "use_cache"}


def test_a_packed_set_that_lost_its_boundaries_is_caught(packing):
    collator, _ = packing
    with pytest.raises(LeakageError, match="position_ids"):
        check_no_leakage(build("llama"), collator, ("input_ids", "labels"), use_cache=False)


def test_rows_of_one_document_that_the_collator_joins_stay_apart():
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    columns = ("input_ids", "labels")
    check_no_leakage(build("llama"), collator, columns, packed=False, use_cache=False)
    with pytest.raises(LeakageError, match="position_ids"):
        check_no_leakage(build("llama"), running_positions(collator), columns, packed=False, use_cache=False)


def block_diagonal(collator):
    """Keeps documents apart by a mask of its own, while positions run on."""

    def collate(rows):
        positions = collator(rows)["position_ids"]
        document = (positions == 0).cumsum(-1)
        apart = document[:, None, :, None] == document[:, None, None, :]
        causal = torch.ones(positions.shape[1], positions.shape[1], dtype=torch.bool).tril()
        return {**running_positions(collator)(rows), "attention_mask": apart & causal}

    return collate


def test_learned_positions_that_run_on_are_caught_even_where_attention_is_apart(packing):
    collator, columns = packing
    check_no_leakage(build("llama"), block_diagonal(collator), columns, use_cache=False)  # rotary ones are relative
    with pytest.raises(LeakageError) as caught:
        check_no_leakage(build("gpt2"), block_diagonal(collator), columns, use_cache=False)
    assert "position_ids" in caught.value.causes


@pytest.mark.parametrize("model_type", ["mamba", "bloom", "bert", "opt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_architectures_that_mix_documents_are_caught(model_type, dtype, packing):
    collator, columns = packing
    with pytest.raises(LeakageError, match="the architecture does not keep documents apart") as caught:
        check_no_leakage(build(model_type).to(dtype), collator, columns, use_cache=False)
    assert caught.value.causes == ("architecture",)


def test_nothing_of_the_check_stays_behind():
    model = build("llama", attention_dropout=0.5)
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    weights = [parameter.clone() for parameter in model.parameters()]
    state = torch.get_rng_state()
    check_no_leakage(model, PackedCollator(0), POSITIONS, use_cache=False)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(old, new) for old, new in zip(weights, model.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert model.config.use_cache is True


def test_modes_are_put_back_after_a_leak_too():
    model = build("llama").train()
    with pytest.raises(LeakageError):
        check_no_leakage(model, PackedCollator(0), POSITIONS)
    assert model.training


def test_a_model_with_adapters_is_looked_at_like_its_base():
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(build("llama"), config)
    check_no_leakage(model, PackedCollator(0), POSITIONS, use_cache=False)
    with pytest.raises(LeakageError, match="use_cache"):
        check_no_leakage(model, PackedCollator(0), POSITIONS)


def test_a_collator_that_gives_other_ids_is_refused():
    def collate(rows):
        return {"input_ids": torch.zeros(2, 12, dtype=torch.long)}

    with pytest.raises(ValueError, match="do not hold the documents"):
        check_no_leakage(build("llama"), collate, POSITIONS)


def test_trls_trainer_passes_with_what_it_collates(tmp_path):
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from hfrecipes.data.bfd_rows import Labelled, pack_examples
    from hfrecipes.tokenization.training import train_tokenizer

    train_tokenizer(["a few words to learn from"] * 4, 300, tmp_path / "tokenizer")
    rows = [{"input_ids": list(range(5, 5 + size)), "labels": list(range(5, 5 + size))} for size in (4, 9, 6)]
    packed = Dataset.from_list(
        [{name: row[name].tolist() for name in LENGTHS} for row in pack_examples(Labelled.from_rows(rows), 16)]
    )
    trainer = SFTTrainer(
        model=build("llama"),
        args=SFTConfig(
            output_dir=tmp_path / "out", packing=True, max_length=16, report_to=[], use_cpu=True, bf16=False
        ),
        train_dataset=packed,
        processing_class=AutoTokenizer.from_pretrained(tmp_path / "tokenizer"),
    )
    columns = trainer.train_dataset.column_names
    assert "seq_lengths" in columns
    check_no_leakage(trainer.model, trainer.data_collator, columns, use_cache=False)
    check_no_leakage(trainer.model, trainer.data_collator, columns)  # the Trainer has switched the config's cache off
