"""Preferences without a reward model: the reference is what the training starts from, whatever that is; nothing is lost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from hfrecipes import RecipeError, RunDir
from hfrecipes.callbacks.likelihood import LikelihoodCallback
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.trainers.dpo import RecipeDPOTrainer
from hfrecipes.trainers.guarded import GuardedTrainer
from tests.stages.preference_runs import built, losses, trained, write_all

LORA = "adapter={method: lora, r: 4, target_modules: all-linear}"
PISSA = "adapter={method: lora, r: 4, target_modules: all-linear, init_lora_weights: pissa}"
FIGURES = ("loss", "rewards/chosen", "rewards/margins", "logps/chosen", "logps/rejected", "lengths/chosen")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the base was trained, and from it a policy in full and one through an adapter."""
    folder = tmp_path_factory.mktemp("dpo")
    write_all(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained("base.yaml")
        trained("dpo.yaml", "name=full")
        trained("dpo.yaml", "name=lora", LORA)
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run_of(name: str) -> RunDir:
    return RunDir(Path("runs", name))


def log_probability(model: Any, ids: list[int], labels: list[int]) -> float:
    """Of the labelled tokens, in float64 and by hand."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logits[n - 1, label]) for n, label in enumerate(labels) if n and label != -100)


@pytest.mark.parametrize("name", ["full", "lora"])
def test_the_first_loss_is_ln_2_and_the_last_ratios_are_those_to_the_base(name: str) -> None:
    first, metrics = losses(run_of(name))[0], run_of(name).metrics()
    assert first == pytest.approx(math.log(2), abs=1e-6) and losses(run_of(name), "rewards/chosen")[0] == 0
    base = AutoModelForCausalLM.from_pretrained("runs/base/model").eval()
    policy = PeftModel.from_pretrained(base, "runs/lora/model") if name == "lora" else None
    policy = policy or AutoModelForCausalLM.from_pretrained("runs/full/model").eval()
    rows = next(iter(built("dpo.yaml").eval_dataset.values()))
    ratios = []
    for row in rows:
        cut = row["seq_lengths"][0]
        sides = [slice(0, cut), slice(cut, None)]
        ours = [log_probability(policy.eval(), row["input_ids"][side], row["labels"][side]) for side in sides]
        if name == "lora":
            with policy.disable_adapter():
                theirs = [log_probability(policy, row["input_ids"][side], row["labels"][side]) for side in sides]
        else:
            theirs = [log_probability(base, row["input_ids"][side], row["labels"][side]) for side in sides]
        ratios.append([ours[side] - theirs[side] for side in (0, 1)])
    margins = [0.1 * (chosen - rejected) for chosen, rejected in ratios]
    expected = sum(math.log1p(math.exp(-margin)) for margin in margins) / len(margins)
    logged = [entry for entry in metrics if "eval_held-out.jsonl_loss" in entry][-1]
    assert logged["eval_held-out.jsonl_loss"] == pytest.approx(expected, abs=1e-4)
    by_metric = {
        entry["metric"]: entry["value"] for entry in run_of(name).facts()["evaluations"] if entry["model"] == "tuned"
    }
    assert by_metric["pair_log_loss"] == pytest.approx(expected, abs=1e-4)
    assert by_metric["implicit_margin"] == pytest.approx(sum(margins) / len(margins), abs=1e-4)
    assert by_metric["pair_accuracy"] == pytest.approx(sum(margin > 0 for margin in margins) / len(margins))


def test_the_base_is_measured_and_asked_beside_the_policy() -> None:
    facts = run_of("lora").facts()
    assert {entry["model"] for entry in facts["evaluations"] if entry["metric"] == "likelier_by_token"} == {
        "base",
        "tuned",
    }
    assert {sample["model"] for sample in facts["samples"]} == {"base", "tuned"}
    assert facts["samples"][0]["reference"].startswith(" ")


def test_an_incoming_adapter_is_its_own_reference_and_is_saved_alone() -> None:
    further = trained("dpo.yaml", "name=further", "model.name_or_path=runs/lora/model")
    assert losses(further)[0] == pytest.approx(math.log(2), abs=1e-6)
    # The policy it began as, and not the bare base: of the same rows it gives other log-probabilities.
    assert losses(further, "logps/chosen")[0] != pytest.approx(losses(run_of("lora"), "logps/chosen")[0], abs=1e-3)
    for place in (further.model, further.checkpoints / "checkpoint-6"):
        assert not [path for path in place.iterdir() if path.is_dir()]
    before, after = (load_file(run_of(name).model / "adapter_model.safetensors") for name in ("lora", "further"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_reference_stays_what_it_was() -> None:
    trainer = built("dpo.yaml", "name=watched", "model.name_or_path=runs/lora/model")
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters() if ".ref." in name}
    trainer.train()
    now = dict(trainer.model.named_parameters())
    assert before and all(torch.equal(weight, now[name]) for name, weight in before.items())
    assert not any(now[name].requires_grad for name in before)


def test_an_adapter_that_rewrites_its_base_is_compared_with_a_copy() -> None:
    pissa = trained("dpo.yaml", "name=pissa", PISSA)
    assert losses(pissa)[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses(pissa, "logps/chosen")[0] == pytest.approx(losses(run_of("full"), "logps/chosen")[0], rel=1e-4)
    with pytest.raises(RecipeError, match="pissa changes the base, so that it is no reference any more"):
        trained("dpo.yaml", "name=quantized", PISSA, "quantization={load_in_4bit: true}")


def test_a_reference_that_is_not_the_start_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfrecipes.stages.reference.leaves_the_base", lambda adapter: True)
    with pytest.raises(PoisonedRunError, match=r"not the model that the training starts from: .*log-ratio of"):
        trained("dpo.yaml", "name=wrong", PISSA)
    facts = run_of("wrong").facts()
    assert facts["status"] == "failed" and not list(run_of("wrong").checkpoints.glob("checkpoint-*"))


@pytest.mark.parametrize("loss", ["[sigmoid]", "[sigmoid, sft]", "ipo"])
def test_a_batch_divided_is_the_batch_whole(loss: str) -> None:
    words = [f"training.loss_type={loss}", "training.max_steps=3", LORA, "evaluation.compare_base=false"]
    name = loss.strip("[]").replace(", ", "-")
    runs = [
        trained("dpo.yaml", f"name={name}-{micro}", f"training.per_device_train_batch_size={micro}", *words)
        for micro in (4, 1)
    ]
    for name in ("loss", "rewards/margins", "grad_norm", "eval_held-out.jsonl_loss"):
        if not (name.startswith("eval") and "sft" in loss):
            assert losses(runs[0], name) == pytest.approx(losses(runs[1], name), rel=1e-3, abs=1e-6), name
    assert len(losses(runs[0])) == 3


@pytest.mark.parametrize("words", [(), (LORA,)])
def test_a_precomputed_reference_gives_the_same_training_and_is_kept(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "lora" if words else "full"
    asked = (f"name=before-{name}", "training.precompute_ref_log_probs=true", *words)
    computed = trained("dpo.yaml", *asked)
    for figure in FIGURES:
        assert losses(computed, figure) == pytest.approx(losses(run_of(name), figure), rel=1e-3, abs=1e-5), figure

    def refuse(*_: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(RecipeDPOTrainer, "compute_ref_log_probs", refuse)
    assert "ref_chosen_logps" in built("dpo.yaml", *asked).train_dataset.column_names
    with pytest.raises(Exception, match="computed again"):
        built("dpo.yaml", *asked, "training.ld_alpha=0.5")


@pytest.mark.parametrize("words", [(), ("model.name_or_path=runs/lora/model",)])
def test_a_killed_training_goes_on_as_if_nothing_had_been(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    training_step = GuardedTrainer.training_step
    uncut = trained("dpo.yaml", "name=uncut", *words) if words else run_of("full")
    with monkeypatch.context() as patch:
        patch.setattr(GuardedTrainer, "training_step", leave)
        with pytest.raises(KeyboardInterrupt):
            trained("dpo.yaml", f"name=cut-{len(words)}", *words)
    resumed = trained("dpo.yaml", f"name=cut-{len(words)}", *words, resume=True)
    for figure in FIGURES:
        assert losses(resumed, figure) == losses(uncut, figure), figure
    file = "adapter_model.safetensors" if words else "model.safetensors"
    ours, theirs = (load_file(each.model / file) for each in (resumed, uncut))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_ranking_becomes_pairs() -> None:
    trainer = built("dpo.yaml", "data.train=[{path: rankings.jsonl}]")
    # Two of four answers are tied: five pairs of each prompt, and of every other one the last is tied with none.
    assert len(trainer.train_dataset) == 5 * 5
    assert all(len(row["seq_lengths"]) == 2 for row in trainer.train_dataset)
    with pytest.raises(RecipeError, match="pairs: together is for reward models"):
        trained("dpo.yaml", "name=together", "data.train=[{path: rankings.jsonl, pairs: together}]")


def test_a_great_loss_of_likelihood_is_said_once() -> None:
    told: list[str] = []
    callback = LikelihoodCallback(0.1, told.append)
    state = type("State", (), {"global_step": 7})()
    for rewards, log_probability in ((0.0, -40.0), (-0.9, -49.0), (-1.2, -52.0), (-3.0, -70.0)):
        callback.on_log(None, state, None, {"rewards/chosen": rewards, "logps/chosen": log_probability})
    (warning,) = told
    assert "step 7 the chosen answers are e^12 times less likely" in warning and "-40 then" in warning
