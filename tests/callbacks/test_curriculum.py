"""Public mixtures under the stock Trainer and TRL's, and what the callback logs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Trainer, TrainerState, TrainingArguments
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from hfrecipes import Curriculum, Mixture
from hfrecipes.callbacks.curriculum import CurriculumCallback
from hfrecipes.data.mixture.plan import MixturePlan
from hfrecipes.data.mixture.weights import Weight
from hfrecipes.tokenization.tokenizer import train_tokenizer
from hfrecipes.trainers.mixin import RecipeTrainerMixin

STEPS, BATCH = 6, 8
WEIGHTS = Curriculum({"a": [[0, 0.9], [1, 0.2]], "b": [[0, 0.1], [1, 0.8]]})
ARGUMENTS: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "max_steps": STEPS,
    "logging_steps": 2,
    "save_steps": 2,
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
}


def tiny_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=400, bos_token_id=None, eos_token_id=0, pad_token_id=0, **sizes))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    texts = [f"Number {n} comes before {n + 1}." for n in range(50)]
    return AutoTokenizer.from_pretrained(train_tokenizer(texts, 400, tmp_path_factory.mktemp("tokenizer")))


def noting(trainer_class: type, key: str) -> Any:
    """The same class, which notes the rows of each micro-batch that it trains on."""

    class Noting(trainer_class):
        def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
            self.noted = [*getattr(self, "noted", []), *inputs[key].tolist()]
            return super().training_step(model, inputs, *rest)

    return Noting


def without_padding(rows: list[list[int]], pad: int) -> list[list[int]]:
    return [[token for token in row if token != pad] for row in rows]


def ids_of(number: int, first: int) -> dict[str, list[int]]:
    return {"input_ids": [first, number + 2, first], "labels": [first, number + 2, first]}


SOURCES = {"a": Dataset.from_list([ids_of(n, 300) for n in range(12)]), "b": [ids_of(n, 301) for n in range(5)]}


def test_the_stock_trainer_reads_a_mixture_in_its_order_and_goes_on_in_it(tmp_path: Path) -> None:
    mixture = Mixture(SOURCES, WEIGHTS, total=STEPS * BATCH, seed=2, block=BATCH)
    arguments = TrainingArguments(str(tmp_path), train_sampling_strategy="sequential", **ARGUMENTS)
    planned = [mixture[n]["input_ids"] for n in range(len(mixture))]
    for resume in (None, str(tmp_path / "checkpoint-4"), str(tmp_path / "checkpoint-4")):
        told = CurriculumCallback(mixture.plan)
        trainer = noting(Trainer, "input_ids")(tiny_model(), arguments, train_dataset=mixture, callbacks=[told])
        trainer.train(resume_from_checkpoint=resume)
        assert trainer.noted == planned[4 * BATCH if resume else 0 :]
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in logged] == [2, 4, 6]
    for entry in logged:
        names = [mixture.locate(n)[0] for n in range((entry["step"] - 2) * BATCH, entry["step"] * BATCH)]
        assert entry["mixture/a"] == round(names.count("a") / len(names), 4)
        progress = [(step - 0.5) / STEPS for step in (entry["step"] - 1, entry["step"])]
        assert entry["mixture_planned/a"] == pytest.approx(WEIGHTS.shares(progress)["a"].mean(), abs=1e-4)


class InOrder:
    """What a stock trainer of TRL needs in front of it to read `mixture.dataset` in the mixture's order."""

    mixture: Mixture

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        return self.mixture.sampler()


def test_sft_of_trl_reads_a_mixture_in_its_order(tmp_path: Path, tokenizer: Any) -> None:
    texts = {name: Dataset.from_dict({"text": [f"Number {n} of {name}." for n in range(9)]}) for name in "ab"}
    mixture = Mixture(texts, WEIGHTS, total=STEPS * BATCH, seed=2, block=BATCH)
    arguments = SFTConfig(str(tmp_path), max_length=32, **ARGUMENTS)
    ordered = type("Ordered", (InOrder, noting(SFTTrainer, "input_ids")), {"mixture": mixture})
    trainer = ordered(tiny_model(), arguments, train_dataset=mixture.dataset, processing_class=tokenizer)
    trainer.train()
    planned = [tokenizer(mixture[n]["text"])["input_ids"] for n in range(STEPS * BATCH)]
    pad = tokenizer.pad_token_id
    ends = {tokenizer.eos_token_id, pad}
    assert [[token for token in row if token not in ends] for row in trainer.noted] == without_padding(planned, pad)


@pytest.mark.parametrize("ours", [False, True])
def test_dpo_of_trl_reads_a_mixture_in_its_order(ours: bool, tmp_path: Path, tokenizer: Any) -> None:
    pairs = {
        name: Dataset.from_list([{"prompt": f"{name}{n}", "chosen": f" {n}.", "rejected": " No."} for n in range(9)])
        for name in "ab"
    }
    mixture = Mixture(pairs, WEIGHTS, total=STEPS * BATCH, seed=2, block=BATCH)
    arguments = DPOConfig(str(tmp_path), max_length=32, **ARGUMENTS, save_strategy="no")
    noted = noting(DPOTrainer, "input_ids")
    bases, words = ((RecipeTrainerMixin, noted), {"mixture_plan": mixture.plan}) if ours else ((InOrder, noted), {})
    trainer = type("Ordered", bases, {"mixture": mixture, **words})(
        tiny_model(), tiny_model(), arguments, train_dataset=mixture.dataset, processing_class=tokenizer
    )
    trainer.train()
    # A micro-batch holds the chosen rows, then the rejected ones.
    chosen = [row for n in range(0, len(trainer.noted), 8) for row in trainer.noted[n : n + 4]]
    planned = [
        tokenizer(mixture[n]["prompt"])["input_ids"] + tokenizer(mixture[n]["chosen"])["input_ids"]
        for n in range(STEPS * BATCH)
    ]
    pad, ends = tokenizer.pad_token_id, {tokenizer.eos_token_id, tokenizer.pad_token_id}
    assert [[token for token in row if token not in ends] for row in chosen] == without_padding(planned, pad)


def plan_of_two() -> MixturePlan:
    return MixturePlan({"a": Weight.of(3), "b": Weight.of(1)}, {"a": 4, "b": 2}, 32, 0, 8)


def test_shares_are_of_tokens_where_lengths_are_given() -> None:
    lengths = np.array([10, 10, 10, 10, 100, 100])
    figures = CurriculumCallback(plan_of_two(), lengths).figures(0, 16)
    assert figures["mixture/a"] == round(12 * 10 / (12 * 10 + 4 * 100), 4) == figures["mixture_planned/a"]
    assert (figures["mixture_epochs/a"], figures["mixture_epochs/b"]) == (3.0, 2.0)


def test_what_is_logged_is_of_the_steps_since_the_entry_before(tmp_path: Path) -> None:
    callback = CurriculumCallback(plan_of_two())
    arguments = TrainingArguments(str(tmp_path), **{**ARGUMENTS, "gradient_accumulation_steps": 1})
    history = [{"step": 1, "loss": 2.0}, {"step": 2, "eval_loss": 1.0}, {"step": 3, "loss": 1.0}]
    state, logs = TrainerState(global_step=3, log_history=history), {"loss": 1.0}
    callback.on_log(arguments, state, None, logs=logs)
    assert logs == {"loss": 1.0, **callback.figures(4, 12)}
    assert history[-1] == {"step": 3, **logs}
    for other in ({"eval_loss": 1.0}, {}, None):
        before = None if other is None else dict(other)
        callback.on_log(arguments, state, None, logs=other)
        assert other == before


def test_many_samples_are_counted_in_parts_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = MixturePlan({"a": Weight.of([[0, 1], [1, 0]]), "b": Weight.of(1)}, {"a": 40, "b": 23}, 1000, 0, 16)
    whole = CurriculumCallback(plan).figures(3, 997)
    monkeypatch.setattr("hfrecipes.callbacks.curriculum._LOOKED_UP", 100)
    assert CurriculumCallback(plan).figures(3, 997) == whole


def test_lengths_of_other_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths are given of 5 rows, and the mixture has 6"):
        CurriculumCallback(plan_of_two(), np.ones(5))
