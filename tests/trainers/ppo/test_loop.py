"""Steps of the stock Trainer that are minibatches of rollouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from hfrecipes.recipe.stops import PoisonedRunError, RunStoppedError
from tests.trainers.ppo.tiny import classifier, prompts, trainer

FULL = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_mini_batches": 1}


def weights(made: Any) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in made.policy.named_parameters() if weight.requires_grad}


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    return max(float((weight - other[name]).abs().max()) for name, weight in one.items())


class Watch(TrainerCallback):
    """Gradients and weights of each step."""

    def __init__(self, made: Any) -> None:
        self.made = made
        self.gradients: list[dict[str, Tensor]] = []
        self.weights: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        named = self.made.policy.named_parameters()
        self.gradients.append({name: each.grad.clone() for name, each in named if each.grad is not None})

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.weights.append(weights(self.made))


def watched(folder: Path, **words: Any) -> Watch:
    made = trainer(folder, **words)
    watch = Watch(made)
    made.add_callback(watch)
    made.train()
    return watch


@pytest.mark.parametrize("value", ["head", "model"])
def test_a_minibatchs_gradient_is_the_same_however_it_is_cut(value: str, tmp_path: Path) -> None:
    """Completions of many lengths: a mean of the micro-batches' means would be another gradient."""
    words = {"value": value, "num_ppo_epochs": 1, "max_steps": 1, "max_grad_norm": 0.0, "num_mini_batches": 1}
    words |= {"value_model": classifier()} if value == "model" else {}
    found = [
        watched(
            tmp_path / str(micro), **words, per_device_train_batch_size=micro, gradient_accumulation_steps=8 // micro
        )
        for micro in (8, 2, 1)
    ]
    whole = found[0].gradients[0]
    assert max(float(each.abs().max()) for each in whole.values()) > 1e-3
    assert all(distance(whole, other.gradients[0]) < 1e-6 for other in found[1:])


def test_the_gradient_is_that_of_the_loss_of_all_tokens_at_once(tmp_path: Path) -> None:
    """Against the published formulas, from logits of the whole batch, with autograd all the way."""
    watch = watched(tmp_path, num_ppo_epochs=1, max_steps=1, max_grad_norm=0.0, num_mini_batches=1)
    made = trainer(tmp_path, num_ppo_epochs=1, max_steps=1, num_mini_batches=1)
    made.get_train_dataloader()
    rollout = made.make_rollout(0)
    texts, model = rollout.texts, made.policy
    seen: dict[str, Tensor] = {}
    hook = model.model.norm.register_forward_hook(lambda module, given, output: seen.update(hidden=output))
    logits = model(input_ids=texts.ids).logits
    hook.remove()
    total, count = torch.zeros(()), 0
    for row in range(len(texts.ids)):
        start, length = int(texts.prompt_lengths[row]), int(texts.lengths[row])
        here = slice(start - 1, start + length - 1)
        logps = logits[row, here].log_softmax(1).gather(1, texts.ids[row, start : start + length, None])[:, 0]
        values = model.ppo_value(seen["hidden"][row, here])
        ratio = (logps - rollout.logps[row, :length]).exp()
        gains = -rollout.advantages[row, :length]
        policy_loss = torch.maximum(gains * ratio, gains * ratio.clamp(0.8, 1.2))
        value_loss = 0.5 * (values - rollout.returns[row, :length]).square()
        total, count = total + (policy_loss + 0.1 * value_loss).sum(), count + length
    (total / count).backward()
    expected = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    assert distance(expected, watch.gradients[0]) < 1e-6


def test_the_optimizer_steps_once_for_each_minibatch_and_no_more(tmp_path: Path) -> None:
    """Also where the last prompts of a pass come: TRL's last PPO stepped on every micro-batch there."""
    made = trainer(tmp_path, max_steps=-1, num_train_epochs=2, train_dataset=prompts(12))
    steps: list[int] = []
    make = made.create_optimizer

    def counted(*args: Any) -> Any:
        optimizer = make(*args)
        optimizer.register_step_post_hook(lambda *_: steps.append(1))
        return optimizer

    made.create_optimizer = counted
    made.train()
    # 12 prompts are two rollouts of 8, each learnt from in 2 passes of 2 minibatches.
    assert len(steps) == made.state.global_step == 2 * 2 * 4


def test_a_rollout_that_is_begun_is_finished(tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=5)
    made.train()
    assert made.state.global_step == 8
    made = trainer(tmp_path, max_steps=-1, total_episodes=17)
    made.train()
    assert made.state.global_step == 3 * 4


def test_the_norm_of_gradients_is_held(tmp_path: Path) -> None:
    words = {"optim": "sgd", "learning_rate": 1.0, "lr_scheduler_type": "constant", "max_steps": 4}
    watch = watched(tmp_path, max_grad_norm=1e-3, **words)
    moved = {name: weight - watch.weights[0][name] for name, weight in watch.weights[1].items()}
    assert 0 < sum(float(each.square().sum()) for each in moved.values()) ** 0.5 <= 1e-3 * 1.001


def test_steps_are_left_out_once_the_policy_has_moved_far_enough(tmp_path: Path) -> None:
    far = watched(tmp_path, learning_rate=1e-2, target_kl=1e-4, max_steps=8, logging_steps=1)
    still = [distance(*pair) == 0 for pair in zip(far.weights[:-1], far.weights[1:], strict=True)]
    # The first step of each rollout moves the policy, the second sees it; what is left of that rollout changes nothing.
    assert still == [False, True, True, False, False, True, True]
    assert ["grad_norm" in entry for entry in far.made.state.log_history[:8]] == [True, True, False, False] * 2
    near = watched(tmp_path, learning_rate=1e-2, target_kl=1e3, max_steps=8)
    assert all(distance(*pair) > 0 for pair in zip(near.weights[:-1], near.weights[1:], strict=True))


def test_saves_and_evaluations_wait_for_the_end_of_a_rollout(tmp_path: Path) -> None:
    words = {"save_strategy": "steps", "save_steps": 3, "eval_strategy": "steps", "eval_steps": 5, "max_steps": 16}
    made = trainer(tmp_path, **words, eval_dataset=prompts(6))
    made.train()
    assert sorted(int(path.name[11:]) for path in tmp_path.glob("checkpoint-*")) == [4, 8, 12, 16]
    assert [entry["step"] for entry in made.state.log_history if "eval_score" in entry] == [8, 12, 16]


def test_a_policy_learns_what_is_rewarded(tmp_path: Path) -> None:
    words = {"learning_rate": 1e-2, "max_steps": 64, "logging_steps": 8, "stop_token": None, "kl_coef": 0.01}
    made = trainer(tmp_path, **words, lr_scheduler_type="constant")
    made.train()
    scores = [entry["objective/scores"] for entry in made.state.log_history if "objective/scores" in entry]
    assert scores[0] < 0.55
    assert scores[-1] > 0.7


def test_figures_are_means_of_all_that_was_read_since_the_last_log(tmp_path: Path) -> None:
    fine, coarse = (trainer(tmp_path, logging_steps=steps, max_steps=8) for steps in (4, 8))
    for made in (fine, coarse):
        made.train()
    one, two = (entry for entry in fine.state.log_history if "loss" in entry)
    both = next(entry for entry in coarse.state.log_history if "loss" in entry)
    for name in ("objective/scores", "objective/kl", "completions/length"):
        assert both[name] == pytest.approx((one[name] + two[name]) / 2)
    assert both["episode"] == two["episode"] == 16
    assert one["objective/kl"] == pytest.approx(0, abs=1e-6)


def test_a_reference_that_is_not_the_start_stops_the_run(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    with torch.no_grad():
        made.reference.model.lm_head.weight.mul_(2)
    with pytest.raises(RunStoppedError, match="before the first step the policy and its reference differ by"):
        made.train()


def test_a_model_that_answers_otherwise_in_training_stops_the_run(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    made.policy.model.norm.register_forward_hook(
        lambda module, given, output: output * (1 + module.training * torch.randn(output.shape[-1]))
    )
    with pytest.raises(RunStoppedError, match="before anything was learnt from a rollout, log-probabilities differ"):
        made.train()


def test_a_loss_that_is_no_number_names_the_prompts_of_its_rollout(tmp_path: Path) -> None:
    made = trainer(tmp_path)
    settle = made._settle

    def poisoned(rollout: Any) -> Tensor:
        kl = settle(rollout)
        rollout.advantages[0, 0] = float("nan")
        return kl

    made._settle = poisoned
    with pytest.raises(PoisonedRunError, match=r"the loss is nan at step 1\. Its rollout completed prompts \d+, "):
        made.train()


def test_evaluations_draw_the_same_numbers_each_time_and_count_each_prompt_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def reward(completions: list[str], number: list[int], **_: Any) -> list[float]:
        asked.extend(number)
        return [float(each) for each in number]

    made = trainer(tmp_path, rewards=reward, eval_dataset=prompts(10))
    first, second = made.evaluate(), made.evaluate()
    assert first["eval_score"] == pytest.approx(4.5)
    assert {name: first[name] for name in ("eval_length", "eval_kl")} == {
        name: second[name] for name in ("eval_length", "eval_kl")
    }
    several = made.evaluate({"few": prompts(2), "more": prompts(4)})
    assert (several["eval_few_score"], several["eval_more_score"]) == (0.5, 1.5)


def test_the_best_checkpoint_is_that_of_the_score_less_what_its_divergence_costs(tmp_path: Path) -> None:
    words = {"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4, "max_steps": 16}
    made = trainer(tmp_path, **words, load_best_model_at_end=True, learning_rate=1e-2, eval_dataset=prompts(8))
    made.train()
    objectives = {entry["step"]: entry["eval_objective"] for entry in made.state.log_history if "eval_score" in entry}
    best = max(objectives, key=objectives.get)
    assert Path(made.state.best_model_checkpoint).name == f"checkpoint-{best}"
    assert made.evaluate()["eval_objective"] == pytest.approx(objectives[best], abs=1e-6)
