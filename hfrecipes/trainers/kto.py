"""The trainer of `kind: kto`: TRL's, on rows that are prepared, with a reference that is looked at before it is trusted."""

from __future__ import annotations

import math
from typing import Any

from trl import KTOTrainer

from hfrecipes.objectives.answers import LabelledCollator
from hfrecipes.trainers.means import MeansOfTRL, NamedHeldOut
from hfrecipes.trainers.mixin import RecipeTrainerMixin
from hfrecipes.trainers.reference_adapter import ReferenceLeftOut
from hfrecipes.trainers.same_reference import SameReference


class RecipeKTOTrainer(ReferenceLeftOut, SameReference, NamedHeldOut, MeansOfTRL, RecipeTrainerMixin, KTOTrainer):
    """Learns from answers that are good or not, each by itself (Ethayarajh et al. 2024, arXiv:2402.01306).

    Features:
        * the policy is its own reference before the first update: every log-ratio is zero there, or the run stops;
        * mismatched answers, from which the divergence is estimated, are paired within each batch as it is drawn;
        * the copy of an incoming adapter that serves as the reference is not saved.

    Args:
        model: A causal language model, or one with an adapter.
        args: Of the training.
        processing_class: The tokenizer.
        words: As for `trl.KTOTrainer`; rows are prepared already.
    """

    _name = "KTO"

    def __init__(self, model: Any, args: Any, processing_class: Any, **words: Any) -> None:
        # The only loss without the estimate.
        mismatched = args.loss_type != "apo_zero_unpaired"
        collator = LabelledCollator(processing_class.pad_token_id, args.max_length, mismatched)
        super().__init__(model=model, args=args, processing_class=processing_class, data_collator=collator, **words)

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    @property
    def step_bound(self) -> float:
        """None: a loss is at most the weight of its label; a saved model still has to read its rows."""
        return math.inf
