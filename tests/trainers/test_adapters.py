"""Adapters of every method, frozen layers and noisy embeddings: gone on with exactly, brought back as the best, saved whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, TrainerCallback
from trl import SFTConfig, SFTTrainer

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.callbacks.folders import unfit
from hfrecipes.models.bottleneck import add_bottlenecks
from hfrecipes.models.freezing import freeze
from hfrecipes.models.peft_methods import PROMPT_NETWORK, peft_config
from hfrecipes.models.pretrained import load_with_adapter
from hfrecipes.recipe.manifest import write_manifest
from hfrecipes.recipe.problem import RecipeError
from hfrecipes.tokenization.tokenizer import train_tokenizer
from hfrecipes.trainers.language_modeling import RecipeSFTTrainer
from tests.trainers.test_mixin import rows

METHODS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "r": 4, "lora_dropout": 0.1},
    "dora": {"method": "lora", "r": 4, "use_dora": True},
    "pissa": {"method": "lora", "r": 4, "init_lora_weights": "pissa"},
    "ia3": {"method": "ia3"},
    "prefix": {"method": "prefix", "num_virtual_tokens": 3},
    "projected prefix": {"method": "prefix", "num_virtual_tokens": 3, "prefix_projection": True},
    "prompt": {"method": "prompt", "num_virtual_tokens": 3},
    "p_tuning": {"method": "p_tuning", "num_virtual_tokens": 3, "encoder_dropout": 0.1},
    "bottleneck": {"method": "bottleneck", "r": 4},
}
# What saves and loads in a way of its own; the others go one way, and all run in `make test-all`.
EVERY_SESSION = ("lora", "projected prefix", "p_tuning", "bottleneck")
NETWORKS = ("projected prefix", "p_tuning")


class StopAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(train_tokenizer(["a b c"], 300, tmp_path_factory.mktemp("bpe")))


@pytest.fixture
def make(tiny_model: Callable[..., Any], tokenizer: PreTrainedTokenizerBase) -> Callable[..., RecipeSFTTrainer]:
    def trainer_of(
        method: str | None, folder: Path, cls: type[SFTTrainer] = RecipeSFTTrainer, **words: Any
    ) -> RecipeSFTTrainer:
        frozen = words.pop("frozen", None)
        words = {"max_steps": 4, "save_steps": 2, "logging_steps": 1, "learning_rate": 1e-2, "seed": 3, **words}
        words |= {
            "dataset_kwargs": {"skip_prepare_dataset": True},
            "gradient_checkpointing": False,
            "report_to": "none",
        }
        args = SFTConfig(
            str(folder), use_cpu=True, bf16=False, disable_tqdm=True, per_device_train_batch_size=2, **words
        )
        section = METHODS.get(method or "")
        model, config = tiny_model(), None
        model.config.name_or_path = ""
        torch.manual_seed(0)
        if method == "bottleneck":
            add_bottlenecks(model, r=section["r"])
        elif section:
            config = peft_config(section)
        if frozen:
            freeze(model, frozen)
        measured = rows(4) if "eval_strategy" in words else None
        trainer = cls(
            model=model,
            args=args,
            train_dataset=rows(),
            eval_dataset=measured,
            processing_class=tokenizer,
            peft_config=config,
        )
        if cls is RecipeSFTTrainer:
            trainer.add_callback(CheckpointCallback(trainer, None))
        return trainer

    return trainer_of


def weights(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trainer.model.named_parameters()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def history(trainer: Any) -> list[tuple[float, float]]:
    return [(entry["loss"], entry["grad_norm"]) for entry in trainer.state.log_history if "loss" in entry]


def cut_and_resumed(make: Callable[..., Any], method: str | None, folder: Path, **words: Any) -> Any:
    """A training that was stopped between two checkpoints and gone on with."""
    cut = make(method, folder, **words)
    cut.add_callback(StopAt(3))
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    resumed = make(method, folder, **words)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.resumed_from.name == "checkpoint-2"
    return resumed


@pytest.mark.parametrize(
    "method", [name if name in EVERY_SESSION else pytest.param(name, marks=pytest.mark.matrix) for name in METHODS]
)
def test_a_resumed_adapter_is_the_one_that_was_not_cut(method: str, make: Callable, tmp_path: Path) -> None:
    whole = make(method, tmp_path / "whole")
    begun = weights(whole)
    whole.train()
    assert not equal(begun, weights(whole))
    resumed = cut_and_resumed(make, method, tmp_path / "cut")
    assert history(resumed) == history(whole) and len(history(whole)) == 4
    assert equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("method", NETWORKS)
def test_the_stock_trainer_loses_the_network_behind_a_prompt(method: str, make: Callable, tmp_path: Path) -> None:
    """What the file beside the adapter is for; should this fail one day, peft saves the network itself."""
    whole = make(method, tmp_path, cls=SFTTrainer)
    whole.train()
    resumed = make(method, tmp_path, cls=SFTTrainer)
    try:
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    except RuntimeError as error:
        assert "size mismatch" in str(error)
        return
    assert not equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("method", ["lora", "p_tuning", "bottleneck"])
def test_the_best_of_them_is_loaded_at_the_end(method: str, make: Callable, tmp_path: Path) -> None:
    # The larger loss counts as better here, so that the best is not the last.
    words = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "greater_is_better": True}
    trainer = make(method, tmp_path, metric_for_best_model="eval_loss", **words)
    after: dict[int, dict[str, torch.Tensor]] = {}

    class Keep(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            after[state.global_step] = weights(trainer)

    trainer.add_callback(Keep())
    trainer.train()
    best = int(trainer.state.best_model_checkpoint.rpartition("-")[2])
    assert best < 4
    assert equal(weights(trainer), after[best])


def test_a_checkpoint_holds_the_adapter_alone(make: Callable, tmp_path: Path) -> None:
    trainer = make("bottleneck", tmp_path)
    trainer.train()
    names = {path.name for path in (tmp_path / "checkpoint-4").glob("*.safetensors")}
    assert names == {"bottleneck.safetensors"} and unfit(tmp_path / "checkpoint-4") == []
    (tmp_path / "checkpoint-4" / "bottleneck.safetensors").unlink()
    assert unfit(tmp_path / "checkpoint-4")
    trainer.save_final(tmp_path / "model")
    assert (tmp_path / "model" / "bottleneck_config.json").is_file()
    assert not (tmp_path / "model" / "model.safetensors").exists()


def test_a_prompt_that_lost_its_network_is_not_gone_on_with(make: Callable, tmp_path: Path) -> None:
    trainer = make("p_tuning", tmp_path)
    trainer.train()
    network, saved = (
        trainer.model.prompt_encoder["default"].state_dict(),
        load_file(tmp_path / "checkpoint-4" / PROMPT_NETWORK),
    )
    assert equal(network, saved) and any("mlp" in name for name in saved)
    (tmp_path / "checkpoint-4" / PROMPT_NETWORK).unlink()
    write_manifest(tmp_path / "checkpoint-4")
    with pytest.raises(RecipeError, match="the network that makes the prompt is not there"):
        make("p_tuning", tmp_path).train(resume_from_checkpoint=True)


def test_peft_trains_no_saved_prompt_further(make: Callable, tmp_path: Path) -> None:
    """So a recipe that starts from one is refused, in peft's words."""
    trainer = make("prompt", tmp_path)
    trainer.model.get_base_model().save_pretrained(tmp_path / "base")
    trainer.model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    trainer.model.save_pretrained(tmp_path / "model")
    with pytest.raises(RecipeError, match="Cannot set a prompt learning adapter to trainable"):
        load_with_adapter(tmp_path / "model", trainable=True)


def test_frozen_layers_have_no_optimizer_and_are_saved(make: Callable, tmp_path: Path) -> None:
    frozen = {"all_but_last": 1}
    trainer = make(None, tmp_path / "run", frozen=frozen)
    begun = weights(trainer)
    trainer.train()
    held = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    moved = {name for name, tensor in weights(trainer).items() if not torch.equal(tensor, begun[name])}
    assert moved == {name for name, parameter in trainer.model.named_parameters() if id(parameter) in held}
    assert {name for name in begun if ".layers.1." in name} < moved
    assert not [name for name in moved if ".layers.0." in name or "embed" in name]
    trainer.save_final(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert equal(dict(loaded.named_parameters()), weights(trainer))
    resumed = cut_and_resumed(make, None, tmp_path / "cut", frozen=frozen)
    assert equal(weights(resumed), weights(trainer)) and history(resumed) == history(trainer)


@pytest.mark.parametrize("method", [None, "lora"])
def test_noise_on_embeddings_is_drawn_on_as_it_would_have_been(
    method: str | None, make: Callable, tmp_path: Path
) -> None:
    """NEFTune (Jain et al. 2023)."""
    noisy = make(method, tmp_path / "whole", neftune_noise_alpha=5.0)
    noisy.train()
    plain = make(method, tmp_path / "plain")
    plain.train()
    assert history(noisy)[0] != history(plain)[0]
    resumed = cut_and_resumed(make, method, tmp_path / "cut", neftune_noise_alpha=5.0)
    assert history(resumed) == history(noisy)
    assert equal(weights(resumed), weights(noisy))
    # Nothing of it is left in a model that is used.
    embedding = noisy.accelerator.unwrap_model(noisy.model).get_input_embeddings()
    assert not embedding._forward_hooks
