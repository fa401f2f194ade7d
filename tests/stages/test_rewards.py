"""Reward models from recipe to folder: what is saved loads anywhere and gives the same rewards, however it was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hfrecipes import RecipeError, RunDir
from hfrecipes.evaluation.rewards import score_rows
from hfrecipes.models.reward import heads_of, load_reward_model, normalisation_of
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.trainers.guarded import GuardedTrainer
from tests.stages.preference_runs import built, losses, trained, write_all

LORA = "adapter={method: lora, r: 4, target_modules: all-linear}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the base, a full reward model and one through an adapter were trained."""
    folder = tmp_path_factory.mktemp("rewards")
    write_all(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        trained("base.yaml")
        trained("reward.yaml", "name=full")
        trained("reward.yaml", "name=lora", LORA)
    return folder


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def held_out() -> Any:
    return next(iter(built("reward.yaml").eval_dataset.values()))


def test_facts_say_how_good_the_model_is() -> None:
    facts = RunDir(Path("runs/full")).facts()
    metrics = {entry["metric"] for entry in facts["evaluations"] if entry["model"] == "tuned"}
    assert {"pair_accuracy", "pair_log_loss", "brier_score", "calibration_error"} <= metrics
    assert {entry["model"] for entry in facts["evaluations"]} == {"tuned", "length alone"}
    quality = facts["reward"]["quality"]["held-out.jsonl"]
    assert quality["calibration"]["bins"] and quality["by_margin"] and quality["length"]
    total = sum(p.numel() for p in AutoModelForSequenceClassification.from_pretrained("runs/full/model").parameters())
    assert facts["model"]["parameters"]["total"] == total
    last = losses(RunDir(Path("runs/full")), "eval_held-out.jsonl_loss")[-1]
    log_loss = next(
        e["value"] for e in facts["evaluations"] if e["metric"] == "pair_log_loss" and e["model"] == "tuned"
    )
    assert 0 < last - log_loss < 1, "centring adds to the loss that is trained"


def test_rewards_are_those_of_plain_transformers_and_normalised_on_held_out_answers() -> None:
    ours, tokenizer = load_reward_model("runs/full/model")
    plain = AutoModelForSequenceClassification.from_pretrained("runs/full/model").eval()
    rows = list(held_out())
    rewards = np.concatenate(score_rows(ours, rows, tokenizer.pad_token_id, 3))
    assert rewards == pytest.approx(np.concatenate(score_rows(plain, rows, tokenizer.pad_token_id, 1)), abs=1e-5)
    spread = normalisation_of("runs/full/model")
    normalised = spread.apply(rewards)
    assert normalised.mean() == pytest.approx(0, abs=1e-4) and normalised.std() == pytest.approx(1, abs=1e-4)
    said = RunDir(Path("runs/full")).facts()["reward"]["normalisation"]
    assert said == {"mean": spread.mean, "std": spread.std}


def test_an_adapter_brings_its_head_and_its_normalisation() -> None:
    model, tokenizer = load_reward_model("runs/lora/model")
    rewards = np.concatenate(score_rows(model, list(held_out()), tokenizer.pad_token_id, 4))
    spread = normalisation_of("runs/lora/model")
    assert rewards.mean() == pytest.approx(spread.mean, abs=1e-5) and rewards.std() == pytest.approx(
        spread.std, abs=1e-5
    )
    saved = load_file("runs/lora/model/adapter_model.safetensors")
    assert any("score" in name for name in saved)
    assert json.loads(Path("runs/lora/model/adapter_config.json").read_text())["task_type"] == "SEQ_CLS"


def test_a_new_head_is_small_and_float32_and_reads_the_last_real_token() -> None:
    trainer = built("reward.yaml", "model.dtype=bfloat16")
    (head,) = heads_of(trainer.model)
    assert head.weight.dtype == torch.float32 and head.bias is None
    assert float(head.weight.std()) == pytest.approx(1 / 33**0.5, rel=0.4)
    rows = [trainer.train_dataset[place] for place in range(4)]
    pad = trainer.processing_class.pad_token_id
    alone = np.concatenate(score_rows(trainer.model, rows, pad, 1))
    assert alone == pytest.approx(np.concatenate(score_rows(trainer.model, rows, pad, 4)), abs=0.02)


def test_padding_is_no_token_that_ends_a_text() -> None:
    tokenizer = AutoTokenizer.from_pretrained("runs/base/model")
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained("eos-pads")
    trainer = built("reward.yaml", "model.tokenizer=eos-pads")
    tokenizer = trainer.processing_class
    assert tokenizer.pad_token_id not in (tokenizer.eos_token_id, None)
    assert trainer.model.config.pad_token_id == tokenizer.pad_token_id
    # With padding behind it or not, a text that ends in EOS is read there.
    ids = [*tokenizer("It is 3")["input_ids"], tokenizer.eos_token_id]
    with torch.no_grad():
        bare = trainer.model(torch.tensor([ids])).logits
        mask = torch.tensor([[1] * len(ids) + [0]])
        padded = trainer.model(torch.tensor([[*ids, tokenizer.pad_token_id]]), attention_mask=mask).logits
        unended = trainer.model(torch.tensor([ids[:-1]])).logits
    assert torch.allclose(bare, padded, atol=1e-5) and not torch.allclose(bare, unended, atol=1e-4)


@pytest.mark.parametrize("micro", [1, 2])
def test_a_batch_divided_is_the_batch_whole(micro: int) -> None:
    # Of seven held-out rows the last batch is smaller than the others.
    sizes = [f"training.per_device_train_batch_size={micro}", "training.per_device_eval_batch_size=3"]
    divided = trained("reward.yaml", f"name=by-{micro}", *sizes)
    whole = RunDir(Path("runs/full"))
    for name in ("loss", "accuracy", "margin", "eval_held-out.jsonl_loss"):
        assert losses(divided, name) == pytest.approx(losses(whole, name), rel=1e-4, abs=1e-6), name


def test_a_killed_training_goes_on_as_if_nothing_had_been(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return training_step(self, *args, **kwargs)

    training_step = GuardedTrainer.training_step
    with monkeypatch.context() as patch:
        patch.setattr(GuardedTrainer, "training_step", leave)
        with pytest.raises(KeyboardInterrupt):
            trained("reward.yaml", "name=cut", LORA)
    resumed, uncut = trained("reward.yaml", "name=cut", LORA, resume=True), RunDir(Path("runs/lora"))
    assert losses(resumed) == losses(uncut) and losses(resumed, "accuracy") == losses(uncut, "accuracy")
    ours, theirs = (load_file(each.model / "adapter_model.safetensors") for each in (resumed, uncut))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert normalisation_of(resumed.model) == normalisation_of(uncut.model)


def test_a_reward_model_on_an_adapter_of_a_language_model_needs_it_merged() -> None:
    trained("dpo.yaml", "name=policy", "training.max_steps=1", LORA)
    with pytest.raises(RecipeError, match="merge it into its base first"):
        trained("reward.yaml", "name=stacked", "model.name_or_path=runs/policy/model", LORA)
    merged = built("reward.yaml", "model.name_or_path=runs/policy/model")
    assert not hasattr(merged.model, "peft_config")


def test_rows_of_one_answer_are_refused_before_the_run() -> None:
    Path("single.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    with pytest.raises(RecipeError, match="there is no column 'chosen', which task: comparison needs"):
        trained("reward.yaml", "data.train=[{path: single.jsonl}]")
    with pytest.raises(
        RecipeError, match=r"kind: reward compares answers, and data\.train\.0 has prompt and completion"
    ):
        trained("reward.yaml", "data.train=[{name: python_docstrings, split: train}]")


def test_the_head_stays_float32_on_a_quantized_base_without_autocast() -> None:
    words = (LORA, "quantization={load_in_4bit: true, bnb_4bit_quant_type: nf4}", "training.bf16=false")
    trainer = built("reward.yaml", *words, "model.dtype=float32")
    # TRL turns all that is trained on a quantized base into bfloat16.
    assert {head.weight.dtype for head in heads_of(trainer.model)} == {torch.float32}
    assert any(weight.dtype == torch.bfloat16 for name, weight in trainer.model.named_parameters() if "lora_" in name)
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters() if "score" in name}
    trainer.args.max_steps = 2
    trainer.train()
    after = dict(trainer.model.named_parameters())
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved and all("modules_to_save" in name for name in moved)


def test_a_model_that_was_thrown_away_is_not_saved() -> None:
    with pytest.raises(PoisonedRunError, match=r"To mend: lower training\.learning_rate"):
        trained("reward.yaml", "name=thrown", "training.learning_rate=1e6", "training.max_grad_norm=0")
    assert not list(Path("runs/thrown/checkpoints").glob("checkpoint-*/manifest.json"))
