"""Answers that are good or not, and preferences without a reference: whole runs on a few rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hfrecipes import RunDir
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.trainers.guarded import GuardedTrainer
from tests.stages import preference_runs
from tests.stages.preference_runs import built, losses, trained

LORA = "adapter={method: lora, r: 4, target_modules: all-linear}"
RUNS = {"kto": (LORA,), "orpo": ()}
FIGURES = {"kto": ("loss", "kl", "rewards/chosen", "grad_norm"), "orpo": ("loss", "nll_loss", "log_odds_ratio")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a base and one policy of each kind were trained; figures are logged between the checkpoints."""
    folder = tmp_path_factory.mktemp("kto-orpo")
    preference_runs.write_all(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained("base.yaml")
        for kind, words in RUNS.items():
            trained(f"{kind}.yaml", "training.logging_steps=2", *words)
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run_of(name: str) -> RunDir:
    return RunDir(Path("runs", name))


def metrics(name: str, model: str) -> set[str]:
    return {entry["metric"] for entry in run_of(name).facts()["evaluations"] if entry["model"] == model}


def test_what_each_has_learnt_is_measured_before_and_after() -> None:
    kl = {"kl_from_base", "kl_from_base_per_completion"}
    assert metrics("kto", "base") == {"good_likelier_by_token"}
    beside = {"good_preferred", "good_log_ratio", "bad_log_ratio"}
    assert metrics("kto", "tuned") == {"good_likelier_by_token", *beside, *kl}
    assert metrics("orpo", "base") == {"likelier_by_token"}
    assert metrics("orpo", "tuned") == {"likelier_by_token", "pair_accuracy", "chosen_log_ratio", *kl}
    for kind in RUNS:
        found = losses(run_of(kind), "eval_held-out.jsonl_loss")
        assert found and found[-1] < found[0]


@pytest.mark.parametrize("kind", RUNS)
def test_a_killed_training_goes_on_as_if_nothing_had_been(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    training_step, words = GuardedTrainer.training_step, (f"name=cut-{kind}", "training.logging_steps=2", *RUNS[kind])
    with monkeypatch.context() as patch:
        patch.setattr(GuardedTrainer, "training_step", leave)
        with pytest.raises(KeyboardInterrupt):
            trained(f"{kind}.yaml", *words)
    resumed, uncut = trained(f"{kind}.yaml", *words, resume=True), run_of(kind)
    for figure in FIGURES[kind]:
        assert losses(resumed, figure) == losses(uncut, figure), figure
    file = "adapter_model.safetensors" if kind == "kto" else "model.safetensors"
    ours, theirs = (load_file(each.model / file) for each in (resumed, uncut))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_pairs_become_a_good_and_a_bad_answer_and_rankings_their_best_and_worst() -> None:
    rows = [{"prompt": "And 1?", "responses": [" a", " b", " c"], "ranks": [2, 1, 3]}]
    Path("ranked.jsonl").write_text(json.dumps(rows[0]))
    trainer = built("kto.yaml", "data.train=[{path: pairs.jsonl}, {path: judged.jsonl}, {path: ranked.jsonl}]")
    found, decode = trainer.train_dataset, trainer.processing_class.decode
    assert len(found) == 2 * 22 + 9 + 2
    answers = [decode([label for label in row["labels"] if label >= 0], skip_special_tokens=True) for row in found]
    assert (answers[0], found[0]["label"], answers[1], found[1]["label"]) == (" 0", 1, " 1?", 0)
    assert [row["label"] for row in found][44:53] == [n % 3 > 0 for n in range(9)]
    assert (answers[53], found[53]["label"], answers[54], found[54]["label"]) == (" b", 1, " c", 0)


def test_a_micro_batch_may_have_no_bad_answer() -> None:
    # One bad answer, which the first batch of four does not draw.
    good = [{"prompt": f"And {n}?", "completion": f" {n * 3}", "label": n != 20} for n in range(40)]
    Path("good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in good))
    words = ("data={train: [{path: good.jsonl}]}", "training.max_steps=1", "training.save_strategy=no")
    (entry,) = [each for each in trained("kto.yaml", "name=good", *words).metrics() if "loss" in each]
    assert "rewards/chosen" in entry and "rewards/rejected" not in entry


def test_batches_are_those_of_trl_with_the_answer_of_the_row_before() -> None:
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    trainer = built("kto.yaml")
    rows = [trainer.train_dataset[place] for place in (3, 8, 0)]
    parts = [
        {
            "prompt_ids": [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label < 0],
            "completion_ids": [label for label in row["labels"] if label >= 0],
            "label": bool(row["label"]),
        }
        for row in rows
    ]
    for place, part in enumerate(parts):
        part["KL_completion_ids"] = parts[place - 1]["completion_ids"]
    expected = DataCollatorForUnpairedPreference(trainer.processing_class.pad_token_id, 64)(parts)
    found = trainer.data_collator(rows)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_reference_that_is_another_model_stops_the_run() -> None:
    trainer = built("kto.yaml")
    with torch.no_grad():
        trainer.ref_model.lm_head.weight.mul_(1.5)
    with pytest.raises(PoisonedRunError, match="the reference is not the model that the training starts from"):
        trainer.train()


def test_odds_ratios_are_those_of_the_paper_and_a_batch_may_be_divided() -> None:
    first = {}
    for micro in (4, 1):
        run = trained(
            "orpo.yaml",
            f"name=micro-{micro}",
            f"training.per_device_train_batch_size={micro}",
            "training.max_steps=1",
            "evaluation.compare_base=false",
        )
        (first[micro],) = [entry for entry in run.metrics() if "nll_loss" in entry]
    for name in ("loss", "grad_norm", "nll_loss", "log_odds_ratio", "log_odds_chosen"):
        assert first[4][name] == pytest.approx(first[1][name], rel=1e-4), name
    trainer = built("orpo.yaml")
    batch = trainer.data_collator([trainer.train_dataset[place] for place in trainer._get_train_sampler().order(0, 4)])
    with torch.no_grad():
        logits = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.double()
    logps = logits[:, :-1].log_softmax(-1).gather(2, batch["input_ids"][:, 1:, None])[..., 0].numpy()
    mask = batch["completion_mask"][:, 1:].numpy()
    means = (logps * mask).sum(1) / mask.sum(1)
    odds = np.exp(means) / (1 - np.exp(means))
    ratio = np.log(1 / (1 + odds[4:] / odds[:4]))
    nll = -(logps * mask)[:4].sum() / mask[:4].sum()
    assert first[4]["log_odds_ratio"] == pytest.approx(ratio.mean(), rel=1e-4)
    assert first[4]["loss"] == pytest.approx(nll - 0.1 * ratio.mean(), rel=1e-4)
