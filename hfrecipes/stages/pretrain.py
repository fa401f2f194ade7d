"""`kind: pretrain`: next-token prediction on packed rows with the stock Trainer."""

from __future__ import annotations

from functools import partial
from typing import Any

from transformers import TrainingArguments

from hfrecipes.data.prepare import Prepared
from hfrecipes.models.mtp.starting import give_heads
from hfrecipes.objectives.clm import PackedCollator
from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.trainers.language_modeling import PretrainTrainer
from hfrecipes.trainers.mtp import MTPTrainer

ARGUMENTS = TrainingArguments


def build_trainer(
    recipe: Any, model: Any, args: TrainingArguments, prepared: Prepared, tokenizer: Any
) -> PretrainTrainer:
    """The trainer of a pretraining run; its rows are packed already."""
    mtp = mtp_settings(recipe)
    if mtp is not None:
        give_heads(recipe, model, mtp)
    return (PretrainTrainer if mtp is None else partial(MTPTrainer, mtp=mtp))(
        model=model,
        args=args,
        data_collator=PackedCollator(tokenizer.pad_token_id),
        train_dataset=prepared.train,
        eval_dataset=_without_sizes(prepared.eval) or None,
        processing_class=tokenizer,
    )


def _without_sizes(datasets: dict[str, Any]) -> dict[str, Any]:
    return {name: dataset.remove_columns("num_bytes") for name, dataset in datasets.items()}
