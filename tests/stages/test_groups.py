"""Policies that compare their answers to a prompt: the rewards of PPO, a plain model, and nothing lost by a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hfrecipes import RecipeError, RunDir
from hfrecipes.callbacks.folders import finished_checkpoints, step_of
from hfrecipes.trainers.guarded import GuardedTrainer
from tests.stages import policy_runs
from tests.stages.preference_runs import built, losses, trained

LORA = "adapter={method: lora, r: 4, target_modules: all-linear}"
FIGURES = ("loss", "objective/scores", "kl", "entropy", "grad_norm", "rewards/Near/mean")
RUNS = {"grpo": (), "rloo": (LORA,)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a base, a policy in full and one through an adapter were trained."""
    folder = tmp_path_factory.mktemp("groups")
    policy_runs.write_all(folder)
    policy_runs.write_groups(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained("base.yaml")
        for kind, words in RUNS.items():
            trained(f"{kind}.yaml", *words)
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run_of(name: str) -> RunDir:
    return RunDir(Path("runs", name))


def figures(run: RunDir, model: str) -> dict[str, float]:
    return {entry["metric"]: entry["value"] for entry in run.facts()["evaluations"] if entry["model"] == model}


@pytest.mark.parametrize("kind", RUNS)
def test_the_policy_is_measured_by_its_rewards_as_one_of_ppo_is(kind: str) -> None:
    run = run_of(kind)
    training = run.facts()["training"]
    # Eight steps are two rollouts and a part of a third one, which is finished; each asks two prompts for three answers.
    assert (training["steps"], training["rollouts"], training["rows"], training["answers"]) == (9, 3, 6, 18)
    assert [step_of(path) for path in finished_checkpoints(run.checkpoints)] == [3, 6, 9]
    tuned, begun = figures(run, "tuned"), figures(run, "base")
    assert {"score", "reward_evens", "reward_Near", "own_8_grams", "cut_answers"} == set(begun)
    assert tuned["score"] == pytest.approx(2 * tuned["reward_evens"] + 0.5 * tuned["reward_Near"])
    assert tuned["kl_from_base_per_completion"] > 0
    logged = [entry for entry in run.metrics() if "reward" in entry]
    for entry in logged:
        weighted = 2 * entry["rewards/evens/mean"] + 0.5 * entry["rewards/Near/mean"]
        assert entry["objective/scores"] == pytest.approx(weighted, abs=1e-5)


def test_the_policy_begins_as_what_it_is_compared_with() -> None:
    for kind in RUNS:
        kl = losses(run_of(kind), "kl")
        assert kl[0] == pytest.approx(0, abs=1e-6) and kl[-1] > 1e-5


@pytest.mark.parametrize("kind", RUNS)
def test_a_killed_training_goes_on_as_if_nothing_had_been(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(self: Any, *args: Any, **kwargs: Any) -> Any:
        # In the middle of the second rollout.
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    training_step, words = GuardedTrainer.training_step, RUNS[kind]
    with monkeypatch.context() as patch:
        patch.setattr(GuardedTrainer, "training_step", leave)
        with pytest.raises(KeyboardInterrupt):
            trained(f"{kind}.yaml", f"name=cut-{kind}", *words)
    resumed, uncut = trained(f"{kind}.yaml", f"name=cut-{kind}", *words, resume=True), run_of(kind)
    for figure in FIGURES:
        assert losses(resumed, figure) == losses(uncut, figure), figure
    assert figures(resumed, "tuned") == figures(uncut, "tuned")
    file = "adapter_model.safetensors" if words else "model.safetensors"
    ours, theirs = (load_file(each.model / file) for each in (resumed, uncut))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_an_adapter_is_trained_further_and_its_copy_is_not_saved() -> None:
    run = trained("grpo.yaml", "name=further", "model.name_or_path=runs/rloo/model", "training.max_steps=3")
    before, after = (load_file(each.model / "adapter_model.safetensors") for each in (run_of("rloo"), run))
    assert before.keys() == after.keys() and not any("ref" in name.split(".") for name in after)
    assert not torch.equal(*(next(iter(each.values())) for each in (before, after)))
    assert not (run.model / "ref").exists() and losses(run, "kl")[0] == pytest.approx(0, abs=1e-6)


def test_held_out_prompts_have_scores_of_their_own_by_which_the_best_is_chosen() -> None:
    words = ["training.eval_strategy=steps", "training.eval_steps=3", "training.load_best_model_at_end=true"]
    run = trained("rloo.yaml", "name=best", "training.max_steps=6", "training.save_steps=3", *words)
    scores = losses(run, "eval_asked.jsonl_score")
    assert len(scores) == 2 and run.facts()["training"]["best_step"] == (3 if scores[0] >= scores[1] else 6)


def test_answers_end_at_stop_strings() -> None:
    trainer = built("grpo.yaml", "training.stop_strings=['3']", "training.max_completion_length=40")
    tokenizer = trainer.processing_class
    ids = tokenizer("1 2 3 4 3")["input_ids"]
    end = trainer._length_to_stop(ids)
    assert "3" in tokenizer.decode(ids[:end]) and "3" not in tokenizer.decode(ids[: end - 1])
    assert trainer._length_to_stop(tokenizer("no end")["input_ids"]) is None
    trainer.model.train()
    rows = trainer.data_collator([trainer.train_dataset[row] for row in (0, 0, 0, 1, 1, 1)])
    torch.manual_seed(0)
    output = trainer._generate_and_score_completions(rows)
    answers = [ids[:length].tolist() for ids, length in zip(*answers_of(output), strict=True)]
    texts = [tokenizer.decode(answer) for answer in answers]
    # The token that completes the string is the last one.
    assert any("3" in text for text in texts) and not any("3" in tokenizer.decode(answer[:-1]) for answer in answers)
    ended = [answer[-1] == tokenizer.eos_token_id or "3" in text for answer, text in zip(answers, texts, strict=True)]
    assert trainer._metrics["train"]["completions/clipped_ratio"] == [pytest.approx(1 - sum(ended) / 6)]


def test_advantages_are_taken_within_a_prompt() -> None:
    trainer = built("grpo.yaml", "training.scale_rewards=none")
    torch.manual_seed(0)
    trainer.model.train()
    rows = trainer.data_collator([trainer.train_dataset[row] for row in (0, 0, 0, 1, 1, 1)])
    output = trainer._generate_and_score_completions(rows)
    ids = [answer[:length].tolist() for answer, length in zip(*answers_of(output), strict=True)]
    factors = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    scores = torch.tensor(
        [
            2 * factor * sum(token % 2 == 0 for token in answer) / len(answer) - 0.5 * abs(len(answer) - 4) / 4
            for answer, factor in zip(ids, factors, strict=True)
        ]
    )
    expected = scores.view(2, 3) - scores.view(2, 3).mean(1, keepdim=True)
    assert torch.allclose(output["advantages"], expected.flatten(), atol=1e-5)


def answers_of(output: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    return output["completion_ids"], output["completion_mask"].sum(1)


def test_another_size_of_rollouts_is_refused_on_resuming() -> None:
    with pytest.raises(RecipeError, match=r"num_iterations was 2, is 1"):
        trained("grpo.yaml", "training.num_iterations=1", resume=True)


def test_a_full_policy_loads_plain() -> None:
    model = AutoModelForCausalLM.from_pretrained(run_of("grpo").model)
    begun = AutoModelForCausalLM.from_pretrained("runs/base/model")
    assert not torch.equal(model.get_output_embeddings().weight, begun.get_output_embeddings().weight)
