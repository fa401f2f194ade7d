"""Trainings with multi-token prediction under FSDP2, whose gradients and models are kept, in one process or in one of several.

python -m torch.distributed.run --nproc_per_node 2 mtp_fsdp_worker.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from tokenizers import Tokenizer, models
from torch.distributed.fsdp import FSDPModule
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, Trainer, TrainingArguments
from trl import SFTConfig

from hfrecipes.objectives.clm import PackedCollator
from hfrecipes.objectives.settings import MTPSettings
from hfrecipes.stages.processes import leave_group
from hfrecipes.trainers.mtp import MTPSFTTrainer, MTPTrainer
from tests.trainers.mtp_worker import GLOBAL_BATCH, STEPS, VOCABULARY, Keep, rows
from tests.trainers.sharded import shard_on_cpus

# Name -> what is trained, whether the model's two ends are one matrix, whether inner states are made anew, whether by LoRA.
SCENES: dict[str, tuple[MTPSettings, bool, bool, bool]] = {
    "parallel": (MTPSettings(3, "parallel", [0.5, 0.25], "none"), False, False, False),
    "tied": (MTPSettings(3, "parallel", 0.5, "forward"), True, True, False),
    "chained": (MTPSettings(3, "chained", 0.5, "none"), False, False, False),
    "lora": (MTPSettings(3, "parallel", 0.5, "none"), False, False, True),
}
BASES = {False: "two-ends", True: "one-matrix"}
WORDS = {
    "use_cpu": True,
    "remove_unused_columns": False,
    "disable_tqdm": True,
    "report_to": "none",
    "save_strategy": "no",
    "max_steps": STEPS,
    "logging_steps": 1,
    # Gradients show in the weights as they are.
    "optim": "sgd",
    "learning_rate": 0.1,
    "max_grad_norm": 0.0,
}


def write_bases(folder: Path) -> None:
    """Models to start from, with two ends and with one matrix for both; a process of several would not wait for another's."""
    for tied in (False, True):
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = AutoConfig.for_model("llama", **sizes, vocab_size=VOCABULARY, tie_word_embeddings=tied)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / BASES[tied])


def trainer_of(scene: str, micro: int, folder: Path, model: Any) -> Trainer:
    settings, _, checkpointing, lora = SCENES[scene]
    words = {**WORDS, "per_device_train_batch_size": micro, "activation_checkpointing": checkpointing}
    data = {"train_dataset": rows(), "data_collator": PackedCollator(0)}
    if lora:
        adapter = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
        args = SFTConfig(str(folder / "out"), **words, bf16=False, dataset_kwargs={"skip_prepare_dataset": True})
        args.gradient_accumulation_steps = GLOBAL_BATCH // micro // args.world_size
        words = Tokenizer(models.WordLevel({str(token): token for token in range(VOCABULARY)}, unk_token="0"))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="0", eos_token="1")
        return MTPSFTTrainer(model, args, mtp=settings, peft_config=adapter, processing_class=tokenizer, **data)
    args = TrainingArguments(str(folder / "out"), **words)
    args.gradient_accumulation_steps = GLOBAL_BATCH // micro // args.world_size
    return MTPTrainer(model, args, mtp=settings, **data)


def train(scene: str, micro: int, folder: Path) -> dict[str, Any]:
    """Gradients by step and what was logged, of batches of eight rows in so many at a time; the model lies in the folder."""
    model = AutoModelForCausalLM.from_pretrained(folder / BASES[SCENES[scene][1]])
    torch.manual_seed(1)
    trainer, keep = trainer_of(scene, micro, folder, model), Keep()
    trainer.add_callback(keep)
    trainer.train()
    trainer.save_final(folder / scene)
    log = [entry for entry in trainer.state.log_history if "loss" in entry]
    parts = [name for name, module in trainer.model.named_modules() if isinstance(module, FSDPModule)]
    return {"gradients": keep.gradients, "log": log, "parts": parts, "world_size": trainer.args.world_size}


def main() -> None:
    folder = Path(sys.argv[1])
    shard_on_cpus()
    for scene in SCENES:
        made = train(scene, 2, folder)
        if torch.distributed.get_rank() == 0:
            torch.save(made, folder / f"{scene}.pt")
    leave_group()


if __name__ == "__main__":
    main()
