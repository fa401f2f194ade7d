"""The trainers of `kind: pretrain` and `kind: sft`: stock classes with the mixin in front."""

from __future__ import annotations

from transformers import Trainer
from trl import SFTTrainer

from hfrecipes.trainers.held_out import HeldOutLoss
from hfrecipes.trainers.means import MeansOfTRL
from hfrecipes.trainers.mixin import RecipeTrainerMixin


class PretrainTrainer(HeldOutLoss, RecipeTrainerMixin, Trainer):
    """Next-token prediction on packed rows."""


class RecipeSFTTrainer(HeldOutLoss, MeansOfTRL, RecipeTrainerMixin, SFTTrainer):
    """Supervised fine-tuning on rows that are tokenised and labelled already."""

    _name = "SFT"
