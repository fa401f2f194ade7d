"""Nothing is saved after a loss, a gradient or a weight has left all bounds, and the message says where to look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from hfrecipes.callbacks.checkpoints import CheckpointCallback
from hfrecipes.callbacks.health import HealthCallback, spiked_above
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.trainers.soundness import LEAD, WINDOW, _window
from hfrecipes.trainers.weights import LARGEST, poisoned_weight
from tests.trainers.conftest import SIZES
from tests.trainers.test_mixin import make_trainer


def guarded(model: Any, folder: Path, **words: Any) -> Trainer:
    trainer = make_trainer(model, folder, **words)
    trainer.add_callback(CheckpointCallback(trainer, None))
    return trainer


@pytest.mark.parametrize("optimizer", ["adamw_torch", "sgd"])
@pytest.mark.parametrize("model_type", SIZES)
def test_an_absurd_learning_rate_stops_the_run(
    model_type: str, optimizer: str, tiny_model: Callable, tmp_path: Path
) -> None:
    words = {
        "learning_rate": 1e6,
        "lr_scheduler_type": "constant",
        "save_steps": 1,
        "max_steps": 20,
        "optim": optimizer,
    }
    trainer = guarded(tiny_model(model_type), tmp_path, **words, max_grad_norm=0.0)
    with pytest.raises(PoisonedRunError, match="Nothing was saved after that"):
        trainer.train()
    assert trainer.state.global_step < 5
    for file in tmp_path.rglob("*.safetensors"):
        for tensor in load_file(file).values():
            assert tensor.abs().max() <= LARGEST, f"{file} is poisoned"


def test_a_gradient_that_is_no_number_stops_the_run_before_the_step(tiny_model: Callable, tmp_path: Path) -> None:
    model = tiny_model()
    weight = model.model.layers[0].mlp.up_proj.weight
    steps = 0

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return gradient * float("nan") if steps == 3 else gradient

    weight.register_hook(poison)
    trainer = guarded(model, tmp_path, save_steps=2, max_steps=6)
    with pytest.raises(PoisonedRunError) as caught:
        trainer.train()
    message = str(caught.value)
    assert "the norm of the gradient is nan at step 3" in message
    assert "checkpoint-2 is whole" in message
    assert torch.isfinite(weight).all()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-2"]


def test_the_message_names_the_rows_of_the_micro_batch(tiny_model: Callable, tmp_path: Path) -> None:
    """One row holds a token whose embedding is not finite: the guard before the first step would see it, so it comes later."""
    model = tiny_model()
    trainer = guarded(model, tmp_path, gradient_accumulation_steps=2, max_steps=4, learning_rate=0.0)
    order = trainer._get_train_sampler().order(4, 8).tolist()
    wanted = order[2:4]
    calls = 0
    stock = type(model).forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        result = stock(self, *args, **kwargs)
        if calls == 4:
            result.loss = result.loss * float("inf")
        return result

    model.forward = forward.__get__(model)
    with pytest.raises(PoisonedRunError, match="the loss is inf at step 2") as caught:
        trainer.train()
    for row in wanted:
        assert f"row {row}:" in str(caught.value)
    for row in set(order[:2]) - set(wanted):
        assert f"row {row}:" not in str(caught.value)


def test_weights_are_looked_at_before_they_are_saved(tiny_model: Callable, tmp_path: Path) -> None:
    """A bad row of the embedding that no text of the batch reads harms no loss, and would be saved."""
    model = tiny_model()
    trainer = guarded(model, tmp_path, save_steps=1)
    with torch.no_grad():
        model.get_input_embeddings().weight[0, 0] = float("inf")
    with pytest.raises(PoisonedRunError, match=r"embed_tokens\.weight holds (infinity|nan)"):
        trainer.train()
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_every_kind_of_bad_weight_is_found(dtype: torch.dtype, value: float) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)).to(dtype)
    assert poisoned_weight(model) is None
    with torch.no_grad():
        model[1].weight[2, 3] = value
    assert "1.weight holds" in (poisoned_weight(model) or "")


def test_frozen_weights_may_be_large_but_not_infinite() -> None:
    model = torch.nn.Linear(4, 4).requires_grad_(False)
    with torch.no_grad():
        model.weight[0, 0] = 1e6
        assert poisoned_weight(model) is None
        model.requires_grad_(True)
        assert "holds 1e+06, more than half precision can" in (poisoned_weight(model) or "")


@pytest.mark.parametrize(
    ("history", "loss", "spiked"),
    [
        ([2.0] * 20, 2.1, False),
        ([2.0] * 20, 2.5, True),
        ([2.0] * 3, 9.0, False),
        ([8.0 - 0.3 * step for step in range(20)], 2.2, False),
        ([2.0 + 0.2 * (-1) ** step for step in range(20)], 2.9, False),
        ([2.0 + 0.2 * (-1) ** step for step in range(20)], 4.5, True),
    ],
)
def test_spikes(history: list[float], loss: float, spiked: bool) -> None:
    assert (spiked_above(loss, history) is not None) == spiked


def test_zero_gradients_and_spikes_warn(tiny_model: Callable, tmp_path: Path) -> None:
    said: list[str] = []
    model = tiny_model()
    for weight in model.parameters():
        weight.register_hook(torch.zeros_like)
    trainer = make_trainer(model, tmp_path, save_strategy="no")
    trainer.add_callback(HealthCallback(said.append))
    trainer.train()
    assert len(said) == 1
    assert "the gradient is zero at step 1" in said[0]


@pytest.mark.parametrize("rate", [1e2, 1e4])
@pytest.mark.parametrize("model_type", SIZES)
def test_the_last_update_is_looked_at_before_its_weights_are_saved(
    model_type: str, rate: float, tiny_model: Callable, tmp_path: Path
) -> None:
    """No loss has seen it yet. At 1e4 activations overflow in some models, whose loss is then that of guessing."""
    trainer = guarded(tiny_model(model_type), tmp_path, learning_rate=rate, save_steps=1, max_steps=1)
    with pytest.raises(PoisonedRunError, match=r"after the update of step 1, .*there is no checkpoint yet") as caught:
        trainer.train()
    assert f"lower training.learning_rate (it is {rate:.3g})" in str(caught.value)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_looking_at_the_weights_leaves_no_trace(dropout: float, tiny_model: Callable, tmp_path: Path) -> None:
    trainer = guarded(tiny_model("gpt2", resid_pdrop=dropout), tmp_path)
    trainer.model.transformer.h[0].eval()
    modes = [module.training for module in trainer.model.modules()]
    generators = torch.get_rng_state()
    trainer.refuse_unsound_weights("now")
    assert torch.equal(generators, torch.get_rng_state())
    assert modes == [module.training for module in trainer.model.modules()]
    assert all(weight.grad is None for weight in trainer.model.parameters())


def test_a_head_of_zeros_is_no_poison(tiny_model: Callable, tmp_path: Path) -> None:
    """Some models begin with one; guessing is all they can do then."""
    model = tiny_model("llama", tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    trainer = guarded(model, tmp_path)
    trainer.refuse_unsound_weights("now")
    trainer.train()


def test_rows_of_a_long_prompt_are_read_where_they_carry_loss() -> None:
    labels = [-100] * 500 + list(range(300))
    ids, found = _window(list(range(800)), labels)
    assert ids == list(range(500 - LEAD, 500 - LEAD + WINDOW))
    assert found[:LEAD] == [-100] * LEAD
    assert found[LEAD:] == list(range(WINDOW - LEAD))
    # The label of the first token is never predicted.
    assert _window([5, 6, 7], [5, -100, 7])[1] == [5, -100, 7]


def test_only_checkpoints_found_sound_in_this_session_are_called_whole(tiny_model: Callable, tmp_path: Path) -> None:
    trainer = guarded(tiny_model(), tmp_path, save_steps=1, max_steps=2)
    trainer.train()
    other = guarded(tiny_model(), tmp_path, save_steps=1, max_steps=2, learning_rate=1e2)
    with pytest.raises(PoisonedRunError, match="there is no checkpoint yet"):
        other.train()
    with torch.no_grad():
        trainer.model.model.norm.weight[0] = float("nan")
    with pytest.raises(PoisonedRunError, match="checkpoint-2 is whole"):
        trainer.refuse_diverged()
