"""A PPO that is cut and gone on with is the one that was not cut, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, TrainerCallback

from hfrecipes.recipe.problem import RecipeError
from tests.trainers.ppo.tiny import LORA, classifier, policy, trainer

RUNTIME = ("train_runtime", "train_samples_per_second", "train_steps_per_second")
WORDS: dict[str, Any] = {
    "save_strategy": "steps",
    "save_steps": 4,
    # Between two logs, so that what was summed has to come back.
    "logging_steps": 6,
    "max_steps": 12,
    "learning_rate": 5e-3,
    "adaptive_kl": True,
    "score_normalization": "running",
    "value_learning_rate": 1e-2,
}


def tuned() -> Any:
    """A policy with an adapter that has learnt something."""
    model = get_peft_model(policy(), LoraConfig(**LORA))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1, generator=torch.Generator().manual_seed(5))
    return model


WAYS: dict[str, Any] = {
    "tied embeddings": lambda: {"model": policy(tie_word_embeddings=True)},
    "from a reward model": lambda: {"value": "model", "value_model": classifier()},
    "incoming adapter": lambda: {"model": tuned(), "value": "adapter"},
    "checkpointing": lambda: {"lora": True, "gradient_checkpointing": True},
}


class StopAt(TrainerCallback):
    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == 10:
            raise KeyboardInterrupt


def state_of(made: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in made.policy.state_dict().items()}


def history(made: Any) -> list[dict[str, float]]:
    return [{key: value for key, value in entry.items() if key not in RUNTIME} for entry in made.state.log_history]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_logged_and_learnt_is_the_same(way: str, tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole", **WORDS, **WAYS[way]())
    whole.train()
    cut = trainer(tmp_path / "cut", **WORDS, **WAYS[way](), callbacks=[StopAt()])
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    resumed = trainer(tmp_path / "cut", **WORDS, **WAYS[way]())
    resumed.train(resume_from_checkpoint=True)
    assert resumed.resumed_from.name == "checkpoint-8"
    assert history(resumed) == history(whole)
    expected, found = state_of(whole), state_of(resumed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())
    trains = [
        {name for name, weight in made.policy.named_parameters() if weight.requires_grad} for made in (whole, resumed)
    ]
    assert trains[0] == trains[1]
    assert whole.kl.coefficient == resumed.kl.coefficient != 0.05
    assert whole.normalizer == resumed.normalizer


@pytest.mark.parametrize("way", ["tied embeddings", "from a reward model", "incoming adapter"])
def test_what_is_saved_loads_without_us(way: str, tmp_path: Path) -> None:
    made = trainer(tmp_path, **WAYS[way](), learning_rate=5e-3, max_steps=4)
    made.train()
    made.save_final(tmp_path / "model")
    ids = torch.tensor([[5, 9, 7, 12]])
    if way == "incoming adapter":
        assert {path.name for path in (tmp_path / "model").iterdir() if path.is_dir()} == set()
        loaded: Any = PeftModel.from_pretrained(policy(), tmp_path / "model")
        assert list(loaded.peft_config) == ["default"]
    else:
        loaded, info = LlamaForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        names = load_file(tmp_path / "model" / "model.safetensors")
        assert not any("ppo" in name for name in names)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(input_ids=ids).logits, made.policy.eval()(input_ids=ids).logits)
    assert (tmp_path / "model" / "value.safetensors").is_file()


def test_a_policy_that_is_saved_by_its_own_method_makes_no_values(tmp_path: Path) -> None:
    made = trainer(tmp_path, value="model")
    made.policy.save_pretrained(tmp_path / "model")
    assert not any("ppo" in name for name in load_file(tmp_path / "model" / "model.safetensors"))


def cut_run(folder: Path, **words: Any) -> None:
    trainer(folder, **{**WORDS, "max_steps": 4}, **words).train()


def test_a_checkpoint_without_values_is_refused(tmp_path: Path) -> None:
    cut_run(tmp_path)
    (tmp_path / "checkpoint-4" / "value.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"lacks value\.safetensors"):
        trainer(tmp_path, **WORDS).train(resume_from_checkpoint=tmp_path / "checkpoint-4")


def test_another_reference_than_that_of_the_beginning_is_refused(tmp_path: Path) -> None:
    cut_run(tmp_path)
    with pytest.raises(RecipeError, match="another reference than the one it would go on with"):
        trainer(tmp_path, model=policy(seed=7), **WORDS).train(resume_from_checkpoint=True)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"num_ppo_epochs": 1}, "saved with steps_per_rollout 4, and it is 2 now"),
        ({"per_device_train_batch_size": 1}, "saved with rollout_size 8, and it is 4 now"),
        ({"value": "model"}, "its values are made otherwise than value: model says"),
    ],
)
def test_other_rollouts_or_values_are_refused(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    cut_run(tmp_path)
    with pytest.raises(RecipeError, match=says):
        trainer(tmp_path, **{**WORDS, **changed}).train(resume_from_checkpoint=True)
