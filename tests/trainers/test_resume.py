"""A training that is cut and gone on with is the training that was not cut, bit for bit."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, EarlyStoppingCallback, Trainer, TrainerCallback

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.callbacks.contents import ACCUMULATORS
from hfrecipes.callbacks.folders import newest_valid, unfit
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.trainers.language_modeling import PretrainTrainer
from tests.trainers.conftest import SIZES, VOCABULARY
from tests.trainers.test_mixin import make_trainer

# Architectures whose files name weights otherwise, or in other pieces, than their modules: the stock resume loses some.
RENAMED = {
    "gpt_neox": {},
    "mixtral": {"num_local_experts": 2},
    "qwen2_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    },
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
}
DROPOUT = {"gpt2": {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2}, "gpt_neox": {"hidden_dropout": 0.2}}
RUNTIME = ("train_runtime", "train_samples_per_second", "train_steps_per_second")


class StopAt(TrainerCallback):
    """Ends a training as a kill would, at the end of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def model_of(model_type: str) -> torch.nn.Module:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if model_type == "gpt2":
        sizes |= {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    else:
        sizes |= {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        sizes |= {"num_key_value_heads": 4}
    sizes |= SIZES.get(model_type, {}) | RENAMED.get(model_type, {}) | DROPOUT.get(model_type, {})
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes))


def trainer_of(model_type: str, folder: Path, cls: type[Trainer] = PretrainTrainer, **words: Any) -> Trainer:
    words = {"max_steps": 10, "save_steps": 3, "logging_steps": 4, "seed": 3, **words}
    trainer = make_trainer(model_of(model_type), folder, cls=cls, **words)
    if cls is PretrainTrainer:
        trainer.add_callback(CheckpointCallback(trainer, None))
    return trainer


def cut(trainer: Trainer, step: int) -> None:
    trainer.add_callback(StopAt(step))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()


def history(trainer: Trainer) -> list[dict[str, float]]:
    return [{key: value for key, value in entry.items() if key not in RUNTIME} for entry in trainer.state.log_history]


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def same(first: Trainer, second: Trainer) -> bool:
    ours, theirs = weights(first), weights(second)
    return all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("model_type", ["llama", "gpt2", "gemma2", "qwen3", *RENAMED])
def test_what_is_logged_and_learned_is_the_same(model_type: str, tmp_path: Path) -> None:
    """With dropout where there is any; the checkpoint lies between two log calls, and in the second epoch."""
    whole = trainer_of(model_type, tmp_path / "whole")
    whole.train()
    cut(trainer_of(model_type, tmp_path / "cut"), 8)
    resumed = trainer_of(model_type, tmp_path / "cut")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.resumed_from.name == "checkpoint-6"
    assert history(resumed) == history(whole)
    assert same(whole, resumed)


def test_the_stock_trainer_loses_experts(tmp_path: Path) -> None:
    """What the loading by the files' names is for; should this fail one day, transformers has mended it."""
    whole = trainer_of("mixtral", tmp_path / "whole", cls=Trainer)
    whole.train()
    cut(trainer_of("mixtral", tmp_path / "cut", cls=Trainer), 8)
    resumed = trainer_of("mixtral", tmp_path / "cut", cls=Trainer)
    resumed.train(resume_from_checkpoint=True)
    assert not same(whole, resumed)


def test_the_last_step_is_not_taken_twice(tmp_path: Path) -> None:
    whole = trainer_of("llama", tmp_path)
    whole.train()
    again = trainer_of("llama", tmp_path)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 10
    assert same(whole, again)
    assert history(again) == history(whole)


def test_the_best_model_is_loaded_after_a_cut_at_the_end_too(tmp_path: Path) -> None:
    words = {"eval_strategy": "steps", "eval_steps": 3, "load_best_model_at_end": True, "greater_is_better": True}
    whole = trainer_of("llama", tmp_path / "there", **words, metric_for_best_model="eval_loss")
    whole.train()
    # The larger loss counts as better here, so that it is not the last.
    best = Path(whole.state.best_model_checkpoint).name
    assert best != "checkpoint-10"
    # The folder was moved meanwhile: the stock Trainer forgets the best checkpoint then.
    shutil.move(tmp_path / "there", tmp_path / "here")
    again = trainer_of("llama", tmp_path / "here", **words, metric_for_best_model="eval_loss")
    again.train(resume_from_checkpoint=True)
    assert again.state.best_model_checkpoint == str(tmp_path / "here" / best)
    assert same(whole, again)
    (tmp_path / "here" / best / "model.safetensors").write_bytes(b"")
    lost = trainer_of("llama", tmp_path / "here", **words, metric_for_best_model="eval_loss")
    with pytest.raises(RecipeError, match="the best checkpoint so far cannot be used"):
        lost.train(resume_from_checkpoint=tmp_path / "here" / "checkpoint-10")


def test_early_stopping_goes_on_counting(tmp_path: Path) -> None:
    words = {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "metric_for_best_model": "eval_loss"}
    words |= {"learning_rate": 0.0, "max_steps": 20, "logging_steps": 1, "load_best_model_at_end": True}

    def make() -> Trainer:
        trainer = trainer_of("llama", tmp_path, **words)
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=6))
        return trainer

    cut(make(), 5)
    resumed = make()
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 7


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant_with_warmup", "cosine_with_min_lr"])
def test_an_extended_schedule_is_planned_anew(schedule: str, tmp_path: Path) -> None:
    extra = {"lr_scheduler_kwargs": {"min_lr": 1e-4}} if schedule == "cosine_with_min_lr" else {}
    words = {"lr_scheduler_type": schedule, "warmup_steps": 2, "logging_steps": 1, **extra}
    trainer_of("llama", tmp_path / "short", max_steps=6, **words).train()
    longer = trainer_of("llama", tmp_path / "short", max_steps=12, **words)
    longer.replan = True
    longer.train(resume_from_checkpoint=True)
    planned = trainer_of("llama", tmp_path / "long", max_steps=12, **words)
    planned.train()
    rates, expected = ([entry["learning_rate"] for entry in each.state.log_history[:-1]] for each in (longer, planned))
    assert rates[6:] == expected[6:]
    assert longer.rates == (pytest.approx(rates[5] if schedule.startswith("constant") else longer.rates[0]), rates[6])


def test_a_new_learning_rate_and_decay_take_effect(tmp_path: Path) -> None:
    """The stock resume keeps the optimizer's settings of the checkpoint, whatever the arguments say."""
    words = {"lr_scheduler_type": "constant", "logging_steps": 1, "max_steps": 6}
    cut(trainer_of("llama", tmp_path, learning_rate=1e-2, **words), 4)
    changed = trainer_of("llama", tmp_path, learning_rate=1e-4, weight_decay=0.3, **words)
    changed.replan = True
    changed.train(resume_from_checkpoint=True)
    rates = [entry["learning_rate"] for entry in changed.state.log_history if "learning_rate" in entry]
    assert rates == [1e-2, 1e-2, 1e-2, 1e-4, 1e-4, 1e-4]
    assert changed.optimizer.param_groups[0]["weight_decay"] == 0.3
    assert changed.rates == (1e-2, 1e-4)


def test_steps_of_saving_follow_the_arguments_of_today(tmp_path: Path) -> None:
    cut(trainer_of("llama", tmp_path, save_steps=3), 4)
    resumed = trainer_of("llama", tmp_path, save_steps=2)
    resumed.train(resume_from_checkpoint=True)
    assert sorted(int(path.name[11:]) for path in tmp_path.glob("checkpoint-*")) == [3, 4, 6, 8, 10]


def test_sums_of_two_processes_go_on_in_one(tmp_path: Path) -> None:
    cut(trainer_of("llama", tmp_path), 4)
    checkpoint = newest_valid(tmp_path)[0]
    saved = json.loads((checkpoint / ACCUMULATORS).read_text())
    assert len(saved["loss"]) == 1
    assert saved["last_logged"] == 0
    trainer = trainer_of("llama", tmp_path)
    trainer.create_optimizer_and_scheduler(10)
    trainer._tr_loss = torch.tensor(0.0)
    trainer.restore_accumulators({**saved, "loss": [3.0, 5.0]})
    assert float(trainer._tr_loss) == 4.0


class Payload:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.file), "w"))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_malicious_checkpoint_runs_nothing(name: str, tmp_path: Path) -> None:
    cut(trainer_of("llama", tmp_path / "checkpoints"), 4)
    checkpoint = newest_valid(tmp_path / "checkpoints")[0]
    buffer = io.BytesIO()
    torch.save({"state": Payload(tmp_path / "owned")}, buffer)
    (checkpoint / name).write_bytes(buffer.getvalue())
    # Whoever can write the file can write the manifest.
    write_manifest(checkpoint, step=3)
    assert not unfit(checkpoint)
    with pytest.raises(RecipeError, match=r"its state cannot be loaded: UnpicklingError: .* could run code") as caught:
        trainer_of("llama", tmp_path / "checkpoints").train(resume_from_checkpoint=True)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "owned").exists()
    assert pickle.loads(pickle.dumps(1)) == 1


def test_weights_that_cannot_be_gone_on_with_are_found_when_they_are_loaded(tmp_path: Path) -> None:
    cut(trainer_of("llama", tmp_path), 4)
    checkpoint = newest_valid(tmp_path)[0]
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    write_manifest(checkpoint, step=3)
    with pytest.raises(PoisonedRunError) as caught:
        trainer_of("llama", tmp_path).train(resume_from_checkpoint=True)
    said = "model.norm.weight holds nan. To mend: remove this folder; --resume takes an older one"
    assert str(caught.value) == f"{checkpoint}: {said}"


def test_sums_of_another_kind_of_training_are_refused(tmp_path: Path) -> None:
    cut(trainer_of("llama", tmp_path), 4)
    checkpoint = newest_valid(tmp_path)[0]
    saved = json.loads((checkpoint / ACCUMULATORS).read_text())
    del saved["last_logged"]
    (checkpoint / ACCUMULATORS).write_text(json.dumps(saved))
    with pytest.raises(RecipeError, match="its state cannot be loaded: KeyError: 'last_logged'"):
        trainer_of("llama", tmp_path).train(resume_from_checkpoint=checkpoint)


@pytest.mark.parametrize("name", ["optimizer.pt", "model.safetensors"])
def test_a_checkpoint_of_another_model_is_refused(name: str, tmp_path: Path) -> None:
    cut(trainer_of("llama", tmp_path / "one"), 4)
    cut(trainer_of("gpt2", tmp_path / "two"), 4)
    checkpoint = newest_valid(tmp_path / "one")[0]
    shutil.copy(newest_valid(tmp_path / "two")[0] / name, checkpoint / name)
    write_manifest(checkpoint, step=3)
    with pytest.raises(RecipeError, match=r"cannot be loaded|lacks weights"):
        trainer_of("llama", tmp_path / "one").train(resume_from_checkpoint=True)


def test_nothing_whole_to_go_on_from(tmp_path: Path) -> None:
    cut(trainer_of("llama", tmp_path), 4)
    (tmp_path / "checkpoint-3" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(RecipeError, match=r"holds no checkpoint to go on from. checkpoint-3: optimizer.pt has 0 bytes"):
        trainer_of("llama", tmp_path).train(resume_from_checkpoint=True)
