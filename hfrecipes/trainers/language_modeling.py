"""The trainers of `kind: pretrain` and `kind: sft`: stock classes with the mixin in front."""

from __future__ import annotations

from typing import Any

from transformers import Trainer
from trl import SFTTrainer

from hfrecipes.trainers.mixin import RecipeTrainerMixin


class PretrainTrainer(RecipeTrainerMixin, Trainer):
    """Next-token prediction on packed rows."""


class RecipeSFTTrainer(RecipeTrainerMixin, SFTTrainer):
    """Supervised fine-tuning on rows that are tokenised and labelled already."""

    _name = "SFT"

    def accumulators(self) -> dict[str, Any]:
        """Also TRL's means since the last log call and its count of tokens, which are the same on every process."""
        means = {name: list(values) for name, values in self._metrics["train"].items()}
        return {**super().accumulators(), "metrics": means, "tokens": self._total_train_tokens}

    def restore_accumulators(self, saved: dict[str, Any]) -> None:
        super().restore_accumulators(saved)
        for name, values in saved["metrics"].items():
            self._metrics["train"][name] = values
        self._total_train_tokens = saved["tokens"]
