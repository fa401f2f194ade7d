"""`kind: sft`: supervised fine-tuning with `trl.SFTTrainer`, full or through an adapter."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
from trl import SFTConfig, pack_dataset

from hfrecipes.data.gate import rows_with_loss
from hfrecipes.data.prepare import Prepared
from hfrecipes.models.load import adapter_config, base_of, is_adapter
from hfrecipes.models.mtp.starting import give_heads
from hfrecipes.models.new_rows import complete_wrappers
from hfrecipes.models.peft_methods import forget_initial_text
from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.recipe.loader import Recipe
from hfrecipes.trainers.language_modeling import RecipeSFTTrainer
from hfrecipes.trainers.mtp import MTPSFTTrainer

ARGUMENTS = SFTConfig


def build_trainer(recipe: Recipe, model: Any, args: SFTConfig, prepared: Prepared, tokenizer: Any) -> RecipeSFTTrainer:
    """The trainer of a fine-tuning run; its rows are tokenised and labelled already, and packed here."""
    if args.packing and args.packing_strategy == "wrapped":
        prepared = dataclasses.replace(prepared, train=wrap(prepared.train, args))
    mtp = mtp_settings(recipe)
    if mtp is not None:
        give_heads(recipe, model, mtp)
    trainer = (RecipeSFTTrainer if mtp is None else partial(MTPSFTTrainer, mtp=mtp))(
        model=model,
        args=args,
        train_dataset=_columns(prepared.train),
        eval_dataset={name: _columns(dataset) for name, dataset in prepared.eval.items()} or None,
        processing_class=tokenizer,
        peft_config=adapter_config(recipe, model),
    )
    finish_adapter(recipe, trainer.model)
    return trainer


def finish_adapter(recipe: Recipe, model: Any) -> None:
    """Completes an adapter, and its config with what others need to load it; takes out what only this machine knows."""
    complete_wrappers(model)
    _name_base(recipe, model)
    forget_initial_text(model)
    _sort_sets(model)


def wrap(dataset: Any, args: SFTConfig) -> Any:
    """Joins shuffled rows and cuts them into rows of one length, as SFTTrainer does where it is told to wrap.

    Rows that come out as all prompt teach nothing and are left out.
    """
    shuffled = dataset.select_columns(["input_ids", "labels"]).shuffle(seed=args.seed)
    packed = pack_dataset(shuffled, args.max_length, args.packing_strategy)
    teaches = rows_with_loss(packed)
    return packed if teaches.all() else packed.select(np.flatnonzero(teaches)).flatten_indices()


def _columns(dataset: Any) -> Any:
    kept = [name for name in ("input_ids", "labels", "seq_lengths") if name in dataset.column_names]
    return dataset.select_columns(kept)


def _name_base(recipe: Recipe, model: Any) -> None:
    """An adapter names the base it belongs to, by Hub id or by an absolute path that `PeftModel` can follow."""
    name = recipe.get("model.name_or_path")
    if not hasattr(model, "peft_config") or name is None:
        return
    if is_adapter(recipe.find_file(name)):
        return
    for config in model.peft_config.values():
        config.base_model_name_or_path, config.revision = base_of(recipe)


def _sort_sets(model: Any) -> None:
    """Peft keeps names of modules as sets and writes them in an order that differs by process; equal runs write equal files."""
    for config in getattr(model, "peft_config", {}).values():
        for name, value in vars(config).items():
            if isinstance(value, set):
                setattr(config, name, sorted(value))
