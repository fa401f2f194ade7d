"""Trainings with multi-token prediction whose gradients are kept, in one process or in one of several.

accelerate launch --multi_gpu --num_processes 2 mtp_worker.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback, TrainingArguments

from hfrecipes.objectives.clm import PackedCollator
from hfrecipes.objectives.settings import MTPSettings
from hfrecipes.stages.processes import leave_group
from hfrecipes.trainers.mtp import MTPTrainer
from tests.trainers.sharded import whole

GLOBAL_BATCH, STEPS, VOCABULARY = 8, 2, 64
# Name -> what is trained, and whether inner states of the trunk are made anew for the gradient.
SCENES: dict[str, tuple[MTPSettings, bool]] = {
    "parallel": (MTPSettings(3, "parallel", [0.5, 0.25], "none"), False),
    "chained": (MTPSettings(3, "chained", 0.5, "none"), False),
    # Heads that rest have no gradient, which DDP has to be told of; under activation checkpointing the Trainer says otherwise.
    "curriculum": (MTPSettings(3, "parallel", 0.5, "forward"), True),
}


def rows() -> Dataset:
    """Rows of all lengths, of which some carry loss everywhere, some at few places, one at none but its last."""
    draw = torch.Generator().manual_seed(1)
    ids = [torch.randint(3, VOCABULARY, (length,), generator=draw) for length in range(4, 4 + GLOBAL_BATCH * STEPS)]
    labels = []
    for number, row in enumerate(ids):
        kept = torch.rand(len(row), generator=draw) < (1.0, 0.7, 0.2, 0.0)[number % 4]
        kept[-1] = True
        labels.append(row.masked_fill(~kept, -100).tolist())
    return Dataset.from_dict({"input_ids": [row.tolist() for row in ids], "labels": labels})


class Keep(TrainerCallback):
    """Keeps the gradients of each step, after they were summed over processes."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        inner = getattr(model, "module", model)
        named = inner.named_parameters()
        self.gradients.append({name: whole(weight.grad) for name, weight in named if weight.grad is not None})


def train(scene: str, micro: int, folder: Path) -> dict[str, Any]:
    """Gradients by step and what was logged, of batches of eight rows in so many at a time."""
    settings, checkpointing = SCENES[scene]
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes, vocab_size=VOCABULARY))
    args = TrainingArguments(
        str(folder),
        use_cpu=True,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        save_strategy="no",
        per_device_train_batch_size=micro,
        max_steps=STEPS,
        logging_steps=1,
        # Gradients show in the weights as they are.
        optim="sgd",
        learning_rate=0.1,
        max_grad_norm=0.0,
        gradient_checkpointing=checkpointing,
    )
    args.gradient_accumulation_steps = GLOBAL_BATCH // micro // args.world_size
    keep = Keep()
    trainer = MTPTrainer(
        model, args, mtp=settings, train_dataset=rows(), data_collator=PackedCollator(0), callbacks=[keep]
    )
    trainer.train()
    assert trainer.global_batch_size == GLOBAL_BATCH
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {"gradients": keep.gradients, "log": log, "world_size": args.world_size}


def main() -> None:
    folder = Path(sys.argv[1])
    for scene in SCENES:
        made = train(scene, 2, folder / "out")
        if torch.distributed.get_rank() == 0:
            torch.save(made, folder / f"{scene}.pt")
    leave_group()


if __name__ == "__main__":
    main()
