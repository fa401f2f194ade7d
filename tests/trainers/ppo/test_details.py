"""The details without which PPO fails in silence, one test for each; its name says what goes wrong.

Their list: "The N Implementation Details of RLHF with PPO" (ICLR blog track 2024) and arXiv:2403.17031. The one on how the head
of a reward model begins has its place where reward models are trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config

from hfrecipes import PPOConfig
from hfrecipes.trainers.ppo.advantages import gae
from hfrecipes.trainers.ppo.kl import KLController
from hfrecipes.trainers.ppo.losses import policy_losses, value_losses
from hfrecipes.trainers.ppo.policy import disable_dropout, make_policy
from hfrecipes.trainers.ppo.prompts import Prompt
from hfrecipes.trainers.ppo.rollout import Minibatches, Rollout, Texts
from hfrecipes.trainers.ppo.sampling import Sampling, draw, draw_uniforms, sample_completions
from hfrecipes.trainers.ppo.scorers import Completed, ModelReward
from hfrecipes.trainers.ppo.scores import ScoreNormalizer, response_lengths, settle_missing_eos, token_rewards
from hfrecipes.trainers.ppo.statistics import masked_whiten
from hfrecipes.trainers.ppo.watching import rollout_figures
from tests.trainers.ppo.tiny import EOS, PAD, VOCABULARY, classifier, policy, tokenizer, trainer

PROMPTS = [[5, 9, 7], [11], [4, 8, 15, 16, 23, 42], [6, 6]]


def sampled(model: Any, prompts: list[list[int]], batch_size: int, **words: Any) -> tuple[Tensor, Tensor, Tensor]:
    sampling = Sampling(**{"length": 6, "temperature": 1.0, "pad_id": PAD, "stop_ids": (EOS,), **words})
    uniforms = draw_uniforms(0, 0, len(prompts), sampling.length)
    with torch.no_grad():
        return sample_completions(model.eval(), prompts, uniforms, sampling, batch_size)


def rollout_of(folder: Path, **words: Any) -> tuple[Any, Rollout]:
    made = trainer(folder, **words)
    made.get_train_dataloader()
    return made, made.make_rollout(0)


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_01_positions_that_count_padding_shift_the_logits_of_short_prompts(model_type: str) -> None:
    model = policy() if model_type == "llama" else gpt2()
    together, alone = (sampled(model, PROMPTS, size)[0] for size in (4, 1))
    assert torch.equal(together, alone)


def test_02_a_pad_token_that_ends_texts_would_hide_their_end_from_value_and_reward() -> None:
    model = policy()
    # The end is drawn often enough to be seen.
    model.lm_head.weight.data[EOS] *= 30
    tokens, lengths, finished = sampled(model, PROMPTS * 4, 16, pad_id=EOS)
    assert bool(finished.any()) and not bool(finished.all())
    texts = Texts.join(PROMPTS * 4, tokens, lengths, EOS)
    ends = [tokens[row, length - 1].item() for row, length in enumerate(lengths.tolist())]
    assert [end == EOS for end in ends] == finished.tolist()
    assert texts.mask.sum(1).tolist() == lengths.tolist()


def test_03_log_probabilities_at_another_temperature_than_that_of_sampling_make_a_wrong_divergence(
    tmp_path: Path,
) -> None:
    _, rollout = rollout_of(tmp_path, temperature=0.5)
    texts = rollout.texts
    with torch.no_grad():
        logits = policy()(input_ids=texts.ids).logits / 0.5
    for row in range(len(texts.ids)):
        start, length = int(texts.prompt_lengths[row]), int(texts.lengths[row])
        chosen = texts.ids[row, start : start + length]
        expected = logits[row, start - 1 : start + length - 1].log_softmax(1).gather(1, chosen[:, None])[:, 0]
        assert torch.allclose(rollout.logps[row, :length], expected, atol=1e-5)
        assert torch.allclose(rollout.ref_logps[row, :length], expected, atol=1e-5)


def test_04_tokens_that_are_never_drawn_take_the_samples_off_the_policy() -> None:
    logits = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(0))
    count = 20_000
    uniforms = (torch.arange(count) + 0.5) / count
    shares = torch.bincount(draw(logits.expand(count, -1), uniforms), minlength=VOCABULARY) / count
    assert torch.allclose(shares, logits.softmax(1)[0], atol=2 / count)
    assert (PPOConfig.top_k, PPOConfig.top_p) == (0, 1.0)
    # What a model says of its own generation would count in `generate`.
    greedy = policy()
    greedy.generation_config.top_k, greedy.generation_config.do_sample = 1, False
    for words in ({}, {"generate": {}}):
        tokens = sampled(greedy, PROMPTS[:1] * 8, 8, stop_ids=(), **words)[0]
        assert len({tuple(row) for row in tokens.tolist()}) == 8


@pytest.mark.parametrize("model_type", ["llama", "gpt2"])
def test_05_with_dropout_the_ratio_is_not_1_before_anything_is_learnt(model_type: str) -> None:
    model = policy(attention_dropout=0.5) if model_type == "llama" else gpt2(0.5)
    ids = torch.tensor(PROMPTS[2:3])
    assert not torch.equal(model.train()(input_ids=ids).logits, model(input_ids=ids).logits)
    disable_dropout(model)
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_06_old_log_probabilities_of_another_forward_pass_are_a_silent_mismatch(tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=8, lora=True)
    seen: list[Tensor] = []
    made.check_ratio = lambda logps, old: seen.append((logps.detach() - old).exp())
    made.train()
    # Two micro-batches of the first minibatch of each of two rollouts.
    assert len(seen) == 4
    assert all(float((ratio - 1).abs().max()) < 1e-5 for ratio in seen)


def test_07_a_reward_model_would_read_what_stands_behind_the_end(tmp_path: Path) -> None:
    read: list[tuple[str, list[int]]] = []

    def reward(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        read.extend(zip(completions, completion_ids, strict=True))
        return [0.0] * len(completions)

    model = policy()
    model.lm_head.weight.data[EOS] *= 30
    rollout_of(tmp_path, model=model, rewards=reward, response_length=12)
    assert any(EOS in ids for _, ids in read)
    assert all(EOS not in ids[:-1] for _, ids in read)
    assert all(len(text.split()) == len(set_aside(ids)) for text, ids in read)


def set_aside(ids: list[int]) -> list[int]:
    return [token for token in ids if token not in (PAD, 1, EOS)]


def test_08_completions_that_do_not_end_would_pay() -> None:
    tokens = torch.tensor([[7, EOS, 8, 9], [7, 8, 9, 10], [7, 8, 9, EOS]])
    lengths, finished = response_lengths(tokens, torch.tensor([EOS]))
    assert lengths.tolist() == [2, 4, 4]
    assert finished.tolist() == [True, False, True]
    scores = torch.tensor([1.0, 5.0, 2.0])
    assert settle_missing_eos(scores, finished, None, -1.0).tolist() == [1.0, -1.0, 2.0]
    assert settle_missing_eos(scores, finished, 1.5, None).tolist() == [1.0, 3.5, 2.0]
    # An end in the prompt is none of the completion's.
    assert not bool(sampled(policy(), [[5, EOS, 6]], 1, stop_ids=(47,))[2].any())


def test_09_the_score_at_padding_is_that_of_padding() -> None:
    model = classifier()
    texts = ["w5 w6", "w7", "w8 w9 w10 w11 w12"]
    reward = ModelReward(model, tokenizer(), 3)
    prompts = [Prompt(row, [], "w3 w4 ") for row in range(3)]
    scores, _ = reward(Completed(prompts, texts, [[]] * 3, [False] * 3, {}))
    for score, text in zip(scores.tolist(), texts, strict=True):
        ids = tokenizer()("w3 w4 " + text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = model.model(input_ids=ids).last_hidden_state
            assert score == pytest.approx(float(model.score(hidden)[0, -1, 0]), abs=1e-6)


def test_10_a_score_behind_the_last_token_decays_on_its_way() -> None:
    mask = torch.tensor([[True, True, True], [True, False, False], [True, True, False]])
    kl = torch.full((3, 3), 2.0)
    rewards = token_rewards(torch.tensor([10.0, 20.0, 30.0]), kl, mask, 0.05)
    assert rewards.tolist() == [
        [pytest.approx(-0.1), pytest.approx(-0.1), pytest.approx(9.9)],
        [pytest.approx(19.9), 0.0, 0.0],
        [pytest.approx(-0.1), pytest.approx(29.9), 0.0],
    ]


def test_11_values_behind_the_end_bias_advantages() -> None:
    rewards, mask = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[True, True, False]])
    quiet, loud = (torch.tensor([[0.5, 0.5, behind]]) for behind in (0.0, 50.0))
    assert torch.equal(gae(rewards, quiet, mask, 1.0, 0.95)[0], gae(rewards, loud, mask, 1.0, 0.95)[0])


def test_12_returns_made_of_whitened_advantages_are_a_wrong_target_for_the_critic(tmp_path: Path) -> None:
    _, rollout = rollout_of(tmp_path, value="model", value_model=classifier())
    mask = rollout.texts.mask
    scores = settle_missing_eos(rollout.scores, rollout.finished, 1.0, None)
    rewards = token_rewards(scores, torch.zeros_like(rollout.logps), mask, 0.05)
    raw, returns = gae(rewards, rollout.values, mask, 1.0, 0.95)
    assert torch.allclose(rollout.returns, returns, atol=1e-5)
    assert torch.allclose(rollout.advantages, masked_whiten(raw, mask), atol=1e-4)
    assert not torch.allclose(rollout.advantages, raw, atol=0.1)


def test_13_advantages_whitened_by_each_process_have_another_scale_on_each() -> None:
    advantages, mask = torch.tensor([[1.0, 2.0], [10.0, 30.0]]), torch.ones(2, 2, dtype=torch.bool)
    together = masked_whiten(advantages, mask)
    apart = torch.cat([masked_whiten(row[None], mask[:1]) for row in advantages])
    assert bool((together[0] < together[1]).all())
    assert not bool((apart[0] < apart[1]).all())


def test_14_rewards_whitened_without_their_mean_lose_their_sign() -> None:
    assert PPOConfig.whiten_rewards is False
    rewards, mask = torch.tensor([[5.0, 6.0]]), torch.ones(1, 2, dtype=torch.bool)
    assert bool((masked_whiten(rewards, mask, shift_mean=False) > 0).all())
    assert not bool((masked_whiten(rewards, mask) > 0).all())


def test_15_a_ratio_that_is_not_clipped_blows_up() -> None:
    logps = torch.tensor([3.0], requires_grad=True)
    losses, clipped = policy_losses(logps, torch.zeros(1), torch.ones(1), 0.2)
    losses.sum().backward()
    assert (float(losses), bool(clipped), float(logps.grad)) == (pytest.approx(-1.2), True, 0.0)


def test_16_a_critic_that_is_not_clipped_jumps() -> None:
    values = torch.tensor([1.0], requires_grad=True)
    losses, _ = value_losses(values, torch.zeros(1), torch.tensor([1.0]), 0.2)
    losses.sum().backward()
    # It has gone all the way in one rollout: the loss is that of the clipped value, and pushes no further.
    assert (float(losses), float(values.grad)) == (pytest.approx(0.32), 0.0)


def test_17_minibatches_that_overlap_or_lose_rows_are_no_passes_over_a_rollout() -> None:
    texts = Texts(torch.zeros(16, 9), torch.arange(1, 17) % 4 + 1, torch.arange(16) % 5 + 1, 5)
    for epoch in range(3):
        read = []
        for minibatch in range(2):
            parts = [
                Minibatches(texts, 0, 0, 2, 2, process, 2).micro(epoch, minibatch, place)
                for place in range(2)
                for process in range(2)
            ]
            rows = torch.cat([rows for rows, _ in parts])
            assert {count for _, count in parts} == {int(texts.lengths[rows].sum())}
            read += rows.tolist()
        assert sorted(read) == list(range(16))
    first, second = (Minibatches(texts, 0, 0, 2, 8, 0, 1).rows(epoch, 0).tolist() for epoch in range(2))
    assert set(first) != set(second)


def test_18_values_that_begin_at_random_are_noise_in_the_first_advantages(tmp_path: Path) -> None:
    _, rollout = rollout_of(tmp_path / "head")
    assert not bool(rollout.values.any())
    # From a reward model, the value of a whole text is its score.
    start = classifier()
    _, rollout = rollout_of(tmp_path / "model", value="model", value_model=start)
    row, texts = 3, rollout.texts
    size = int(texts.prompt_lengths[row] + texts.lengths[row]) - 1
    with torch.no_grad():
        score = start(input_ids=texts.ids[row : row + 1, :size]).logits
    assert float(rollout.values[row, int(texts.lengths[row]) - 1]) == pytest.approx(float(score), abs=1e-5)


def test_20_without_a_scale_for_scores_the_coefficient_means_something_else_for_each_reward() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0])
    one, hundred = (ScoreNormalizer("reference")(scores * factor) for factor in (1.0, 100.0))
    assert torch.allclose(one, hundred)


def test_21_a_fixed_coefficient_lets_the_divergence_go_where_it_will() -> None:
    controller = KLController(0.15, adaptive=True)
    controller.update(60.0, 10_000)
    assert controller.coefficient == pytest.approx(0.15 * 1.2)
    controller.update(0.0, 5_000)
    assert controller.coefficient == pytest.approx(0.15 * 1.2 * 0.9)


def test_22_with_a_small_epsilon_the_policy_moves_further_at_each_step(tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=8)
    made.args.learning_rate = PPOConfig.learning_rate
    made.train()
    assert all(group["eps"] == 1e-5 for group in made.optimizer.param_groups)
    assert PPOConfig.learning_rate == 3e-6
    # Annealed to nothing.
    assert made.lr_scheduler.get_last_lr()[0] == pytest.approx(0)


def test_23_processes_that_draw_the_same_numbers_complete_the_same() -> None:
    uniforms = draw_uniforms(0, 3, 8, 6)
    assert len({tuple(row) for row in uniforms.tolist()}) == 8
    assert not torch.equal(uniforms, draw_uniforms(0, 4, 8, 6))
    assert not torch.equal(uniforms, draw_uniforms(1, 3, 8, 6))
    tokens = sampled(policy(), [[5, 6]] * 8, 8, stop_ids=())[0]
    assert len({tuple(row) for row in tokens.tolist()}) == 8


def test_24_figures_over_padding_are_diluted(tmp_path: Path) -> None:
    model = policy()
    model.lm_head.weight.data[EOS] *= 30
    _, rollout = rollout_of(tmp_path, model=model)
    mask = rollout.texts.mask
    assert not bool(mask.all())
    kl = rollout.logps - rollout.ref_logps
    before = rollout_figures(rollout, kl, 0.05, ["even"])
    for name in ("logps", "entropies", "values", "returns", "advantages"):
        setattr(rollout, name, torch.where(mask, getattr(rollout, name), 1e3))
    assert rollout_figures(rollout, torch.where(mask, kl, 1e3), 0.05, ["even"]) == before


def gpt2(dropout: float = 0.0) -> Any:
    torch.manual_seed(0)
    rates = {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout}
    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=32, eos_token_id=EOS, **rates
    )
    return make_policy(AutoModelForCausalLM.from_config(config).eval())
