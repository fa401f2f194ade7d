"""Scores that are taken down while tokens are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from hfrecipes.trainers.ppo.drawn_scores import DrawnScores
from hfrecipes.trainers.ppo.rollout import Rollout, score_texts
from hfrecipes.trainers.ppo.sampling import Sampling, draw_uniforms, sample_completions
from hfrecipes.trainers.ppo.value import ValueHead
from tests.trainers.ppo.tiny import EOS, PAD, SIZES, policy, trainer

PROMPTS = [[5, 9, 7], [11], [4, 8, 15, 16, 23, 42], [6, 6], [30, 31], [32], [33, 34, 35], [36]]


def model_of(model_type: str) -> Any:
    """Qwen2 has biases, GPT-2 learnt positions, which padding at the left would shift."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **SIZES)).eval()
    with torch.no_grad():
        # Rows end early, so that the cache is cut down on the way.
        model.get_output_embeddings().weight[EOS] *= 30
    return model


@pytest.mark.parametrize("model_type", ["llama", "qwen2", "gpt2"])
def test_they_are_those_of_each_row_read_alone(model_type: str) -> None:
    model, settings = model_of(model_type), Sampling(length=12, temperature=0.7, pad_id=PAD, stop_ids=(EOS,))
    width = model.get_output_embeddings().in_features
    head = ValueHead(width, weight=torch.randn(width), bias=0.5)
    uniforms = draw_uniforms(0, 0, len(PROMPTS), settings.length)
    taken = DrawnScores(uniforms, head)
    with torch.no_grad(), taken.watching(model.get_output_embeddings()):
        tokens, lengths, _ = sample_completions(model, PROMPTS, uniforms, settings, 5, taken)
    mask = torch.arange(12) < lengths[:, None]
    found = taken.of(mask)
    assert int((~mask).sum()) > 0 and all(not values[~mask].any() for values in found.values())
    for row, prompt in enumerate(PROMPTS):
        drawn = tokens[row, : lengths[row]]
        ids = torch.cat([torch.tensor(prompt), drawn])[None]
        with torch.no_grad():
            made = model(input_ids=ids, output_hidden_states=True)
        here = slice(len(prompt) - 1, -1)
        logps = (made.logits[0, here].double() / 0.7).log_softmax(1)
        values = made.hidden_states[-1][0, here] @ head.weight[0] + 0.5
        expected = {
            "logps": logps[range(len(drawn)), drawn],
            "entropies": -(logps.exp() * logps).sum(1),
            "values": values,
        }
        for name, each in expected.items():
            assert torch.allclose(found[name][row, : lengths[row]].double(), each.double(), atol=2e-5), name


def rollout_of(folder: Path, model: Any = None, **words: Any) -> tuple[Any, Rollout, list[tuple[str, int, int]]]:
    """The trainer, its first rollout, and what was asked of the policy: what, rows, and tokens of a row."""
    made = trainer(folder, model=model, kl_coef=0.0, **words)
    made.get_train_dataloader()
    asked: list[tuple[str, int, int]] = []
    call = made.call_policy

    def watched(**inputs: Any) -> Any:
        asked.append((inputs["wanted"], *inputs["input_ids"].shape))
        return call(**inputs)

    made.call_policy = watched
    return made, made.make_rollout(0), asked


def of_training(made: Any, rollout: Rollout, name: str) -> Tensor:
    """By the forward pass that gradients go through."""
    ids, places = rollout.texts.batch(torch.arange(len(rollout.scores)))
    return made.policy(input_ids=ids, responses=places, temperature=made.args.temperature)[name]


def test_a_rollout_is_not_read_again_but_for_two_rows(tmp_path: Path) -> None:
    made, rollout, asked = rollout_of(tmp_path)
    assert [(what, rows) for what, rows, _ in asked] == [("logps", 2)]
    logps = of_training(made, rollout, "logps")
    assert not torch.equal(rollout.logps[rollout.texts.mask], logps)
    assert torch.allclose(rollout.logps[rollout.texts.mask], logps, atol=1e-5)


@pytest.mark.parametrize("value", ["adapter", "model"])
def test_values_of_layers_of_their_own_are_read_and_the_policy_is_not(value: str, tmp_path: Path) -> None:
    made, rollout, asked = rollout_of(tmp_path, value=value, lora=value == "adapter")
    assert [(what, rows) for what, rows, _ in asked] == [("logps", 2), ("values", 8)]
    with torch.no_grad():
        head = made.policy.get_base_model().ppo_value if value == "adapter" else made.policy.ppo_value.head
        head.weight.normal_()
    again = made.make_rollout(0)
    assert again.values.std() > 0 and not rollout.values.any()
    assert torch.allclose(again.values[again.texts.mask], of_training(made, again, "values"), atol=1e-5)


def test_where_drawing_goes_another_way_all_rows_are_read_again(tmp_path: Path) -> None:
    model = policy()

    def shifted(module: nn.Module, args: Any, words: dict[str, Any], output: Any) -> Any:
        if words.get("past_key_values") is not None:
            output.last_hidden_state = output.last_hidden_state * 1.01
        return output

    model.model.register_forward_hook(shifted, with_kwargs=True)
    made, rollout, asked = rollout_of(tmp_path, model=model)
    assert [(what, rows) for what, rows, _ in asked] == [("logps", 2), ("all", 8)]
    assert torch.equal(rollout.logps[rollout.texts.mask], _in_order(made, rollout))


def _in_order(made: Any, rollout: Rollout) -> Tensor:
    """Log-probabilities of the training's pass in the batch in which a rollout reads them."""
    with torch.no_grad():
        return score_texts(rollout.texts, 64, made._score)["logps"][rollout.texts.mask]


@pytest.mark.parametrize("words", [{"model": "half"}, {"generation_kwargs": {"do_sample": True}}])
def test_half_precision_and_generate_are_read_whole(words: dict[str, Any], tmp_path: Path) -> None:
    half = words.get("model") == "half"
    given = {"model": policy().bfloat16()} if half else words
    _, _, asked = rollout_of(tmp_path, **given)
    assert [(what, rows) for what, rows, _ in asked] == [("all", 8)]


def test_the_last_token_of_a_row_is_not_read(tmp_path: Path) -> None:
    """Nothing is drawn behind it, and it would cost as much as any other."""
    made, rollout, _ = rollout_of(tmp_path)
    widths: list[int] = []
    made.policy.model.register_forward_pre_hook(
        lambda module, args, words: widths.append(words["input_ids"].shape[1]), with_kwargs=True
    )
    of_training(made, rollout, "logps")
    assert widths == [rollout.texts.ids.shape[1] - 1]
