"""A policy from a recipe: its rewards are those of the recipe, its model is plain, and nothing is lost by a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from hfrecipes import RecipeError, RunDir
from hfrecipes.evaluation.kl import token_kl
from hfrecipes.models.reward import normalisation_of
from hfrecipes.stages.measure_policy import PolicyMeasurer
from hfrecipes.trainers.guarded import GuardedTrainer
from hfrecipes.trainers.ppo.prompts import Prompt
from hfrecipes.trainers.ppo.scorers import Completed
from tests.stages import policy_runs
from tests.stages.preference_runs import built, losses, trained

LORA = "adapter={method: lora, r: 4, target_modules: all-linear}"
FIGURES = ("loss", "objective/scores", "objective/kl", "val/values", "grad_norm", "rewards/Near")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a base, a policy in full and one through an adapter, and reward models of both sorts were trained."""
    folder = tmp_path_factory.mktemp("ppo")
    policy_runs.write_all(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained("base.yaml")
        trained("ppo.yaml", "name=full")
        trained("ppo.yaml", "name=lora", LORA)
        trained("reward.yaml", "name=whole", "training.max_steps=2", "training.save_strategy=no")
        trained("reward.yaml", "name=beside", "training.max_steps=2", "training.save_strategy=no", LORA)
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run_of(name: str) -> RunDir:
    return RunDir(Path("runs", name))


def figures(run: RunDir, model: str) -> dict[str, float]:
    return {entry["metric"]: entry["value"] for entry in run.facts()["evaluations"] if entry["model"] == model}


def completed(texts: list[str]) -> Completed:
    """Answers as a trainer gives them to its rewards."""
    tokenizer = AutoTokenizer.from_pretrained("runs/base/model")
    prompts = [Prompt(n, tokenizer("So?")["input_ids"], "So?", {"factor": 1.0}) for n in range(len(texts))]
    return Completed(prompts, texts, [tokenizer(text)["input_ids"] for text in texts], [False] * len(texts), {})


@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_policy_is_saved_plain_and_measured_as_its_rewards_say(name: str) -> None:
    run = run_of(name)
    facts = run.facts()
    assert facts["status"] == "complete" and facts["training"]["steps"] == 12 and facts["training"]["rollouts"] == 3
    base = AutoModelForCausalLM.from_pretrained("runs/base/model").eval()
    policy = PeftModel.from_pretrained(base, run.model) if name == "lora" else None
    policy = policy or AutoModelForCausalLM.from_pretrained(run.model).eval()
    weights = load_file(next(run.model.glob("*model.safetensors")))
    assert not [key for key in weights if "ppo" in key or "value" in key.split(".")]
    tuned, begun = figures(run, "tuned"), figures(run, "base")
    assert tuned["score"] == pytest.approx(2 * tuned["reward_evens"] + 0.5 * tuned["reward_Near"])
    assert {"score", "reward_evens", "reward_Near", "own_8_grams", "cut_answers"} == set(begun)
    assert tuned["kl_from_base_per_completion"] > 0
    (sample,) = [each for each in facts["samples"] if each["model"] == "tuned"]
    assert sample["prompt"] == "What is 30 times 3?" and isinstance(sample["score"], float)


def test_the_divergence_is_that_of_all_tokens_at_the_training_temperature() -> None:
    run = trained(
        "ppo.yaml", "name=cool", "training.temperature=0.5", "evaluation.num_prompts=2", "training.max_steps=4"
    )
    trainer = built("ppo.yaml", "training.temperature=0.5")
    policy, base = (AutoModelForCausalLM.from_pretrained(f"runs/{name}/model").eval() for name in ("cool", "base"))
    trainer.model.load_state_dict(policy.state_dict(), strict=False)
    from hfrecipes.stages.measure_policy import _DRAWING
    from hfrecipes.trainers.ppo.sampling import draw_uniforms, sample_completions

    prompts = trainer.reader.read(trainer.eval_dataset["asked.jsonl"], [0, 1])
    with torch.no_grad():
        uniforms = draw_uniforms(42, _DRAWING, 2, 6)
        tokens, lengths, _ = sample_completions(policy, [one.ids for one in prompts], uniforms, trainer.sampling, 2)
        sums = []
        for prompt, row, length in zip(prompts, tokens, lengths, strict=True):
            ids = torch.tensor([prompt.ids + row[:length].tolist()])
            sides = [model(ids).logits[0, len(prompt.ids) - 1 : -1] / 0.5 for model in (policy, base)]
            sums.append(float(token_kl(*sides).sum()))
    assert figures(run, "tuned")["kl_from_base_per_completion"] == pytest.approx(np.mean(sums), rel=1e-4)


@pytest.mark.parametrize("words", [(), (LORA,)])
def test_a_killed_training_goes_on_as_if_nothing_had_been(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 6:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    training_step, name = GuardedTrainer.training_step, f"cut-{len(words)}"
    uncut = run_of("lora" if words else "full")
    with monkeypatch.context() as patch:
        patch.setattr(GuardedTrainer, "training_step", leave)
        with pytest.raises(KeyboardInterrupt):
            trained("ppo.yaml", f"name={name}", *words)
    with monkeypatch.context() as patch:
        # The second time while the manifest of the next checkpoint is written.
        patch.setattr(
            "hfrecipes.callbacks.checkpoints.write_manifest", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            trained("ppo.yaml", f"name={name}", *words, resume=True)
    resumed = trained("ppo.yaml", f"name={name}", *words, resume=True)
    for figure in FIGURES:
        assert losses(resumed, figure) == losses(uncut, figure), figure
    assert figures(resumed, "tuned") == figures(uncut, "tuned")
    for file in ("adapter_model.safetensors" if words else "model.safetensors", "value.safetensors"):
        ours, theirs = (load_file(each.model / file) for each in (resumed, uncut))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_run_that_is_killed_while_it_is_measured_is_only_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PolicyMeasurer, "trained_and_base", leave)
        with pytest.raises(KeyboardInterrupt):
            trained("ppo.yaml", "name=measured")
    monkeypatch.setattr(GuardedTrainer, "training_step", leave)
    again = trained("ppo.yaml", "name=measured", resume=True)
    assert again.facts()["evaluations"] == run_of("full").facts()["evaluations"]
    assert again.facts()["samples"] == run_of("full").facts()["samples"]


def test_rewards_that_are_others_are_another_run() -> None:
    with pytest.raises(RecipeError, match=r"rewards.0.weight was 2.0, is 1.0"):
        trained("ppo.yaml", "name=full", "rewards.0.weight=1.0", resume=True)


@pytest.mark.parametrize("kind", ["whole", "beside"])
def test_a_reward_model_scores_as_it_did_when_it_was_trained(kind: str) -> None:
    said = normalisation_of(run_of(kind).model)
    assert said is not None
    alone = built("ppo.yaml", f"rewards=[{{model: runs/{kind}}}]", *([LORA] if kind == "beside" else []))
    texts = [" 21", " 7?", " No, not at all"]
    scores, _, _ = alone.rewards(completed(texts), 6)
    from hfrecipes.models.reward import load_reward_model

    model, tokenizer = load_reward_model(run_of(kind).model)
    expected = []
    for text in texts:
        with torch.no_grad():
            expected.append(float(model(**tokenizer("So?" + text, return_tensors="pt")).logits[0, 0]))
    assert scores.tolist() == pytest.approx([(each - said.mean) / said.std for each in expected], abs=1e-4)
    assert alone.rewards.names == [kind]


def test_an_adapter_of_rewards_without_one_of_the_policy_is_put_onto_its_own_base() -> None:
    scores = [
        built("ppo.yaml", "rewards=[{model: runs/beside/model}]", *words).rewards(completed([" 21", " 7?"]), 6)[0]
        for words in ([], [LORA])
    ]
    assert scores[0].tolist() == pytest.approx(scores[1].tolist(), abs=1e-4)


def test_values_begin_as_the_reward_model_judges() -> None:
    trainer = built("ppo.yaml", "rewards=[{model: runs/whole/model}]", "training.value=model")
    said, before = normalisation_of(run_of("whole").model), load_file(run_of("whole").model / "model.safetensors")
    head = trainer.model.ppo_value.head
    assert torch.allclose(head.weight[0], before["score.weight"][0] / said.std, atol=1e-6)
    assert float(head.bias) == pytest.approx(-said.mean / said.std, abs=1e-5)


def test_a_prompt_without_room_for_an_answer_is_told_before_the_first_step() -> None:
    with pytest.raises(RecipeError, match=r"22 prompts of data.train.0 leave no room .*max_prompt_length: 3"):
        trained("ppo.yaml", "name=long", "training.response_length=157")


def test_preferences_and_conversations_give_their_prompts() -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], "factor": 1.0}]
    Path("talk.jsonl").write_text(json.dumps(rows[0]))
    trainer = built(
        "ppo.yaml",
        "data.train=[{path: pairs.jsonl}, {path: talk.jsonl}]",
        "rewards=[{function: hfrecipes.rewards:python_parses}]",
    )
    assert len(trainer.train_dataset) == 23
    assert trainer.train_dataset[0]["prompt"] == "What is 0 times 3?" and trainer.train_dataset[0]["chosen"] == " 0"
    assert trainer.train_dataset[22]["prompt"] == [{"role": "user", "content": "Hi"}]
    assert trainer.sampling.stop_ids == (trainer.processing_class.eos_token_id,)
    (prompt,) = trainer.reader.read(trainer.train_dataset, [22])
    assert list(trainer.train_dataset.rows[22]["input_ids"]) == prompt.ids


def test_answers_in_a_conversation_end_with_the_turn() -> None:
    words = ["data.train=[{path: talk.jsonl}]", "rewards=[{function: hfrecipes.rewards:python_parses}]"]
    Path("talk.jsonl").write_text(json.dumps({"prompt": [{"role": "user", "content": "Hi"}]}))
    trainer = built("ppo.yaml", *words)
    turn_end = trainer.processing_class.convert_tokens_to_ids("<|im_end|>")
    assert trainer.sampling.stop_ids == (turn_end,) != (trainer.processing_class.eos_token_id,)
    assert built("ppo.yaml", *words, "training.stop_token_id=7").sampling.stop_ids == (7,)
    assert built("ppo.yaml", *words, "training.stop_token=null").sampling.stop_ids == ()
