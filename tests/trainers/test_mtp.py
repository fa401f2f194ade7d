"""Multi-token prediction under the Trainer: one loss over all heads, exact in pieces, saved and resumed whole."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer, pack_dataset

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.models.mtp.attach import add_mtp_heads, load_mtp
from hfrecipes.models.mtp.saving import FILE
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.trainers.mtp import MTPConfig, MTPSettings, MTPSFTTrainer, MTPTrainer
from tests.trainers.mtp_worker import Keep
from tests.trainers.test_mixin import losses, make_trainer, rows
from tests.trainers.test_resume import cut, history, model_of, same

KINDS = ["parallel", "chained"]


def trainer_of(model_type: str, folder: Path, settings: MTPSettings, **words: Any) -> MTPTrainer:
    words = {"max_steps": 10, "save_steps": 3, "logging_steps": 4, "seed": 3, **words}
    trainer = make_trainer(model_of(model_type), folder, cls=functools.partial(MTPTrainer, mtp=settings), **words)
    trainer.add_callback(CheckpointCallback(trainer, None))
    return trainer


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_give_the_losses_of_one_batch(
    model_type: str, kind: str, tiny_model: Callable, tmp_path: Path
) -> None:
    curves = []
    for micro, accumulation in ((8, 1), (1, 8)):
        trainer = make_trainer(
            tiny_model(model_type),
            tmp_path,
            cls=functools.partial(MTPTrainer, mtp=MTPSettings(3, kind, 0.5, "none")),
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=accumulation,
        )
        trainer.train()
        heads = [entry[f"loss_head_{head}"] for entry in trainer.state.log_history[:3] for head in (1, 2, 3)]
        curves.append([*losses(trainer), *heads])
    assert len(curves[0]) == 12
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", ["llama", "gpt2", "mixtral", "gpt_neox"])
def test_a_cut_training_is_gone_on_with_bit_for_bit_heads_included(model_type: str, kind: str, tmp_path: Path) -> None:
    settings = MTPSettings(3, kind, 0.5, "forward")
    whole = trainer_of(model_type, tmp_path / "whole", settings)
    whole.train()
    cut(trainer_of(model_type, tmp_path / "cut", settings), 8)
    resumed = trainer_of(model_type, tmp_path / "cut", settings)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.resumed_from.name == "checkpoint-6"
    assert history(resumed) == history(whole)
    assert same(whole, resumed)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_learns_what_full_precision_does(kind: str, tmp_path: Path) -> None:
    curves = []
    for bf16 in (False, True):
        folder = tmp_path / str(bf16)
        trainer = trainer_of(
            "llama", folder, MTPSettings(3, kind, 0.5, "none"), max_steps=4, logging_steps=1, bf16=bf16
        )
        trainer.train()
        curves.append(losses(trainer))
    assert curves[0] == pytest.approx(curves[1], rel=1e-2)


def test_a_checkpoint_without_heads_is_refused(tmp_path: Path) -> None:
    settings = MTPSettings(2)
    trainer_of("llama", tmp_path, settings, max_steps=3).train()
    (tmp_path / "checkpoint-3" / FILE).unlink()
    with pytest.raises((RecipeError, ValueError), match="saved without heads"):
        trainer_of("llama", tmp_path, settings).train(resume_from_checkpoint=tmp_path / "checkpoint-3")


def test_the_best_model_comes_back_with_its_heads(tmp_path: Path) -> None:
    words = {"eval_strategy": "steps", "eval_steps": 3, "load_best_model_at_end": True, "metric_for_best_model": "loss"}
    # The worst is called the best, so that it is not the last one.
    trainer = trainer_of("llama", tmp_path, MTPSettings(2), greater_is_better=True, **words)
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    assert best.name == "checkpoint-3"
    kept = load_mtp(best).state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in trainer.model.state_dict().items())


def test_the_best_adapter_comes_back_with_its_heads(tiny_model: Callable, tmp_path: Path) -> None:
    trainer = sft_trainer(
        tiny_model(),
        tmp_path,
        adapter=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        max_steps=3,
        # The worst is called the best, so that it is not the last one.
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        greater_is_better=True,
    )
    trainer.add_callback(CheckpointCallback(trainer, None))
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    assert best.name == "checkpoint-1"
    kept, last = (load_file(best.with_name(name) / FILE) for name in ("checkpoint-1", "checkpoint-3"))
    heads = trainer.mtp_model.mtp_heads.state_dict()
    assert all(torch.equal(weight, kept[name]) for name, weight in heads.items())
    assert not all(torch.equal(weight, last[name]) for name, weight in heads.items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_rows_of_a_fine_tuning_cost_what_their_documents_cost_apart(
    kind: str, checkpointing: bool, tiny_model: Callable, tmp_path: Path
) -> None:
    """Packed by TRL; with inner states made anew for the gradient or not."""
    found = []
    for packed in (False, True):
        words = {"packing": packed, "max_length": 64, "optim": "sgd", "max_grad_norm": 0.0, "logging_steps": 1}
        size = 1 if packed else 4
        words |= {
            "per_device_train_batch_size": size,
            "gradient_checkpointing": checkpointing and packed,
            "max_steps": 1,
        }
        keep = Keep()
        trainer = sft_trainer(tiny_model(), tmp_path / str(packed), kind=kind, **words)
        trainer.add_callback(keep)
        trainer.train()
        assert len(trainer.train_dataset) == size
        found.append((trainer.state.log_history[0], keep.gradients[0]))
    (apart, wanted), (together, got) = found
    names = ("loss", "loss_head_1", "loss_head_2", "loss_head_3")
    assert [together[name] for name in names] == pytest.approx([apart[name] for name in names], rel=1e-5)
    assert got.keys() == wanted.keys() and any("mtp_heads." in name for name in got)
    for name, gradient in got.items():
        assert float((gradient - wanted[name]).norm()) <= 1e-4 * float(wanted[name].norm()), name


@pytest.mark.parametrize("kind", KINDS)
def test_activation_checkpointing_leaves_the_losses_of_all_heads(
    kind: str, tiny_model: Callable, tmp_path: Path
) -> None:
    logs = []
    for checkpointing in (False, True):
        trainer = make_trainer(
            tiny_model(),
            tmp_path,
            cls=functools.partial(MTPTrainer, mtp=MTPSettings(3, kind, 0.5, "none")),
            gradient_checkpointing=checkpointing,
        )
        trainer.train()
        assert trainer.model.is_activation_checkpointing == checkpointing
        logs.append([entry[f"loss_head_{head}"] for entry in trainer.state.log_history[:3] for head in (1, 2, 3)])
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)


def test_evaluation_is_that_of_the_first_head(tiny_model: Callable, tmp_path: Path) -> None:
    trainer = make_trainer(
        tiny_model(), tmp_path, cls=functools.partial(MTPTrainer, mtp=MTPSettings(3)), eval_strategy="steps"
    )
    measured = trainer.evaluate()["eval_loss"]
    batch = trainer.data_collator(rows()[:8] if isinstance(rows(), list) else [rows()[n] for n in range(len(rows()))])
    plain = tiny_model()
    plain.load_state_dict(trainer.model.state_dict(), strict=False)
    with torch.no_grad():
        expected = [
            float(plain(**{name: value[n : n + 8] for name, value in batch.items()}).loss)
            for n in range(0, len(batch["labels"]), 8)
        ]
    assert measured == pytest.approx(sum(expected) / len(expected), rel=0.05)


@pytest.mark.parametrize(("curriculum", "expected"), [("forward", [1, 1, 2, 2, 3, 3]), ("reverse", [3, 3, 2, 2, 1, 1])])
def test_a_curriculum_brings_heads_in_one_after_the_other(
    curriculum: str, expected: list[int], tiny_model: Callable, tmp_path: Path
) -> None:
    trainer = make_trainer(
        tiny_model(),
        tmp_path,
        cls=functools.partial(MTPTrainer, mtp=MTPSettings(3, "parallel", 0.5, curriculum)),
        max_steps=6,
    )
    trainer.train()
    logged = [sum(f"loss_head_{head}" in entry for head in (1, 2, 3)) for entry in trainer.state.log_history[:6]]
    assert logged == expected


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_heads_learn_under_trls_trainer_too(kind: str, adapted: bool, tiny_model: Callable, tmp_path: Path) -> None:
    """TRL makes a loss of its own from the logits of the first head, which would leave the others without a gradient."""
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if adapted else None
    trainer = sft_trainer(tiny_model(), tmp_path, kind, adapter, max_steps=2, logging_steps=1, learning_rate=1e-2)
    heads = trainer.mtp_model.mtp_heads
    before = {name: parameter.clone() for name, parameter in heads.named_parameters()}
    trainer.train()
    assert all(
        not torch.equal(parameter, before[name]) for name, parameter in heads.named_parameters() if "bias" not in name
    )
    assert "loss_head_3" in trainer.state.log_history[0]
    trainer.save_model(str(tmp_path / "saved"))
    if adapted:
        assert isinstance(trainer.model, PeftModel)
        assert not any("lora" in name for name, _ in heads.named_parameters())
    else:
        AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
        saved = load_mtp(tmp_path / "saved").mtp_heads.state_dict()
        assert all(torch.equal(tensor, saved[name]) for name, tensor in heads.state_dict().items())
    assert (tmp_path / "saved" / FILE).is_file()


def test_words_of_its_own_configuration(tiny_model: Callable, tmp_path: Path) -> None:
    args = MTPConfig(str(tmp_path), use_cpu=True, num_future_tokens=2, heads="chained", mtp_loss_weight=0.1)
    trainer = MTPTrainer(tiny_model(), args, train_dataset=rows())
    assert trainer.mtp == MTPSettings(2, "chained", 0.1, "forward")
    assert trainer.mtp_model.num_future_tokens == 2


def test_heads_of_another_kind_or_number_than_the_settings_say_are_refused(
    tiny_model: Callable, tmp_path: Path
) -> None:
    model = add_mtp_heads(tiny_model(), 4)
    for words in ({"num_future_tokens": 2}, {"heads": "chained"}):
        args = MTPConfig(str(tmp_path), use_cpu=True, **words)
        with pytest.raises(ValueError, match=r"has parallel heads for 4 tokens, and the training is set to"):
            MTPTrainer(model, args, train_dataset=rows())
    MTPTrainer(model, MTPConfig(str(tmp_path), use_cpu=True), train_dataset=rows())


@pytest.mark.parametrize("frozen", [False, True])
def test_trls_own_trainer_passes_heads_over_and_that_is_told(
    frozen: bool, tiny_model: Callable, tmp_path: Path
) -> None:
    """Without a word the heads would be saved as they were copied."""
    model = add_mtp_heads(tiny_model(), 3)
    model.mtp_heads.requires_grad_(not frozen)
    words = {
        "max_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "dataset_kwargs": {"skip_prepare_dataset": True},
    }
    args = SFTConfig(str(tmp_path), use_cpu=True, bf16=False, learning_rate=1e-2, **words)
    dataset = Dataset.from_list([{"input_ids": [1, 3, 4, 5, 6], "labels": [-100, 3, 4, 5, 6]}] * 8)
    trainer = SFTTrainer(model, args, train_dataset=dataset, processing_class=_tokenizer(tmp_path))
    before = [weight.clone() for weight in model.mtp_heads.parameters()]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trainer.train()
    assert all(map(torch.equal, before, model.mtp_heads.parameters()))
    assert any("leaves the further heads out" in str(one.message) for one in told) != frozen


def sft_trainer(model: Any, folder: Path, kind: str = "parallel", adapter: Any = None, **words: Any) -> MTPSFTTrainer:
    """Of four short documents, whose first token carries no loss."""
    ids = [[1, *range(3, 3 + length)] for length in (6, 9, 12, 7)]
    dataset = Dataset.from_list([{"input_ids": row, "labels": [-100, *row[1:]]} for row in ids])
    words = {"save_strategy": "no", "gradient_checkpointing": False, **words}
    config = SFTConfig(
        str(folder), use_cpu=True, bf16=False, report_to="none", dataset_kwargs={"skip_prepare_dataset": True}, **words
    )
    if words.get("packing"):
        dataset = pack_dataset(dataset, words["max_length"], "bfd")
    torch.manual_seed(0)
    return MTPSFTTrainer(
        model,
        config,
        mtp=MTPSettings(3, kind, 0.5, "none"),
        train_dataset=dataset,
        eval_dataset=dataset if "eval_strategy" in words else None,
        peft_config=adapter,
        processing_class=_tokenizer(folder),
    )


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    from hfrecipes.tokenization.training import train_tokenizer

    train_tokenizer(["some text to learn from"] * 3, 300, folder / "tokenizer")
    return AutoTokenizer.from_pretrained(folder / "tokenizer")


def test_a_frozen_trunk_stays_as_it_is_while_its_heads_learn(tiny_model: Callable, tmp_path: Path) -> None:
    settings = MTPSettings(3, "parallel", 1.0, "none", frozen_trunk=True)
    trainer = make_trainer(tiny_model(), tmp_path, cls=functools.partial(MTPTrainer, mtp=settings), max_steps=40)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train()
    changed = {name for name, tensor in trainer.model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.startswith("mtp_heads.")}
    assert trainer.state.log_history[-2]["loss_head_3"] < trainer.state.log_history[0]["loss_head_3"]
