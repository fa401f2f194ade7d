"""The guard of the loss, the final save, and documents that stay apart, on several architectures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from hfrecipes.objectives.clm import PackedCollator
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.trainers.language_modeling import PretrainTrainer
from hfrecipes.trainers.saved import verify_saved
from tests.trainers.conftest import SIZES, VOCABULARY


def rows(count: int = 12, longest: int = 20) -> Dataset:
    """Ragged rows, so that padding and weighting matter."""
    generator = torch.Generator().manual_seed(1)
    lengths = [4 + int(torch.randint(longest - 4, (1,), generator=generator)) for _ in range(count)]
    ids = [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return Dataset.from_dict({"input_ids": ids, "labels": ids})


def make_trainer(model: Any, folder: Path, cls: type[Trainer] = PretrainTrainer, **words: Any) -> Trainer:
    words = {"per_device_train_batch_size": 2, "max_steps": 3, "logging_steps": 1, "learning_rate": 1e-2, **words}
    args = TrainingArguments(
        str(folder), use_cpu=True, remove_unused_columns=False, logging_nan_inf_filter=False, disable_tqdm=True, **words
    )
    # Measured on what it learns from, where the words ask for it.
    measured = rows() if "eval_strategy" in words else None
    return cls(model=model, args=args, train_dataset=rows(), eval_dataset=measured, data_collator=PackedCollator(0))


def losses(trainer: Trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("model_type", SIZES)
def test_accumulation_gives_the_same_losses(model_type: str, tiny_model: Callable, tmp_path: Path) -> None:
    curves = []
    for micro, accumulation in ((8, 1), (1, 8)):
        trainer = make_trainer(
            tiny_model(model_type),
            tmp_path,
            per_device_train_batch_size=micro,
            gradient_accumulation_steps=accumulation,
        )
        trainer.train()
        curves.append(losses(trainer))
    assert len(curves[0]) == 3
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


def test_nan_weights_stop_before_anything_is_saved(tiny_model: Callable, tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[5, 0] = float("nan")
    trainer = make_trainer(model, tmp_path, save_steps=1)
    with pytest.raises(PoisonedRunError, match="step 1"):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))


def test_the_stock_trainer_saves_nan_weights(tiny_model: Callable, tmp_path: Path) -> None:
    """What the guard is for; should this fail one day, transformers has one of its own."""
    model = tiny_model()
    with torch.no_grad():
        model.lm_head.weight[5, 0] = float("nan")
    make_trainer(model, tmp_path, cls=Trainer, save_steps=1).train()
    assert list(tmp_path.glob("checkpoint-*"))


@pytest.mark.parametrize("model_type", SIZES)
def test_the_final_save_loads_with_equal_logits(model_type: str, tiny_model: Callable, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_model(model_type), tmp_path / "checkpoints", save_strategy="no")
    trainer.train()
    trainer.save_final(tmp_path / "model")
    assert not (tmp_path / "model" / "training_args.bin").exists()
    ids = torch.tensor([rows()[0]["input_ids"]])
    with torch.no_grad():
        ours = trainer.model.eval()(ids).logits
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()(ids).logits
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("damage", ["missing", "shape", "empty"])
def test_a_model_that_was_not_saved_whole_is_refused(damage: str, tiny_model: Callable, tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.mlp.down_proj.weight"
    if damage == "empty":
        file.unlink()
    else:
        tensors = {key: value for key, value in tensors.items() if key != name}
        save_file(tensors | ({name: torch.zeros(2, 2)} if damage == "shape" else {}), file, metadata={"format": "pt"})
    with pytest.raises(RuntimeError, match=r"missing" if damage == "empty" else name):
        verify_saved(model, tmp_path)


@pytest.mark.parametrize("model_type", SIZES)
def test_packed_documents_do_not_see_each_other(model_type: str, tiny_model: Callable, tmp_path: Path) -> None:
    """Through the trainer's own forward: packed rows cost what their documents cost apart."""
    documents = [[5, 9, 12, 7, 3], [8, 8, 21, 30], [40, 2, 17, 33, 9, 6]]
    packed = {
        "input_ids": [token for document in documents for token in document],
        "labels": [label for document in documents for label in (-100, *document[1:])],
        "position_ids": [position for document in documents for position in range(len(document))],
    }
    apart = [{"input_ids": document, "labels": document} for document in documents]
    trainer = make_trainer(tiny_model(model_type), tmp_path)
    trainer.model.config.use_cache = False
    trainer.model.eval()
    collate = PackedCollator(0)

    def cost(batch: dict[str, torch.Tensor]) -> float:
        targets = (batch["labels"][:, 1:] != -100).sum()
        with torch.no_grad():
            return (
                float(trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(1.0)))
                if targets
                else 0.0
            )

    together = cost(collate([packed]))
    beside = cost(collate([packed, {**packed, "labels": [-100] * 15}]))
    separate = sum(cost(collate([row])) for row in apart)
    assert together == pytest.approx(separate, rel=1e-5)
    assert beside == pytest.approx(separate, rel=1e-5)


def test_padding_costs_nothing() -> None:
    batch = PackedCollator(7)([{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}, {"input_ids": [4], "labels": [4]}])
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 7, 7]]
    assert batch["labels"].tolist() == [[1, 2, 3], [4, -100, -100]]
    assert "attention_mask" not in batch
