"""The trainer of `kind: dpo`: TRL's, on rows that are prepared, with a reference that is looked at before it is trusted."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from trl import DPOTrainer

from hfrecipes.objectives.answers import PairCollator
from hfrecipes.trainers.held_out import HeldOutLoss
from hfrecipes.trainers.means import MeansOfTRL
from hfrecipes.trainers.mixin import RecipeTrainerMixin
from hfrecipes.trainers.reference_adapter import ReferenceLeftOut
from hfrecipes.trainers.same_reference import SameReference


class RecipeDPOTrainer(HeldOutLoss, ReferenceLeftOut, SameReference, MeansOfTRL, RecipeTrainerMixin, DPOTrainer):
    """Learns to prefer the better of two answers, measured against the model it began as.

    Features:
        * the policy is its own reference before the first update: every log-ratio is zero there, or the run stops;
        * the `sft` loss is a mean over the tokens of the whole batch, however it is divided;
        * reference log-probabilities that are computed beforehand are kept by what they depend on, so that a resumed run
          finds them;
        * the copy of an incoming adapter that serves as the reference is not saved: plain resuming would take it for the policy.

    Args:
        model: A causal language model, or one with an adapter.
        processing_class: The tokenizer.
        words: As for `trl.DPOTrainer`; rows are prepared already.
    """

    _name = "DPO"

    def __init__(self, model: Any, processing_class: Any, **words: Any) -> None:
        super().__init__(
            model=model,
            processing_class=processing_class,
            data_collator=PairCollator(processing_class.pad_token_id),
            **words,
        )

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    # The reference

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        # TRL keeps them by rows and weights alone; these words change them, too.
        weights = self._precompute_model_hash
        self._precompute_model_hash = f"{weights} {self.ld_alpha} {self.args.bf16} {self.args.fp16}"
        try:
            return super()._precompute_ref_logps(dataset, name, batch_size)
        finally:
            self._precompute_model_hash = weights

    # Guards

    @property
    def step_bound(self) -> float:
        """None: the losses differ in size (`ipo` begins at 1 / (2 beta)^2); a saved model still has to read its rows."""
        return math.inf

    # The loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        training = self.model.training
        if training and "sft" in self.loss_types and num_items_in_batch is not None:
            loss = self._with_sft(model, inputs, num_items_in_batch)
        else:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        self._note_lengths(inputs["completion_mask"], "train" if training else "eval")
        return loss

    def _note_lengths(self, completion_mask: torch.Tensor, mode: str) -> None:
        chosen, rejected = self.accelerator.gather(completion_mask.sum(dim=1).float()[None]).chunk(2, dim=1)
        for side, lengths in (("chosen", chosen), ("rejected", rejected)):
            self._metrics[mode][f"lengths/{side}"].append(float(lengths.mean()))

    def held_out_weight(self, inputs: dict[str, Any]) -> int:
        """The pairs of a batch. (A part of the loss that is a mean over tokens stays one of each batch.)"""
        return len(inputs["input_ids"]) // 2

    def _with_sft(self, model: Any, inputs: dict[str, Any], tokens: torch.Tensor) -> torch.Tensor:
        """TRL's losses, of which `sft` is a mean over the tokens of a micro-batch: taken over those of the step instead."""
        recorded = _Recorded(model)
        losses, weights = self.loss_types, self.loss_weights
        others = [each for each in zip(losses, weights, strict=True) if each[0] != "sft"]
        share = sum(weight for name, weight in zip(losses, weights, strict=True) if name == "sft")
        try:
            self.loss_types, self.loss_weights = [name for name, _ in others], [weight for _, weight in others]
            loss = super().compute_loss(recorded, inputs)
        finally:
            self.loss_types, self.loss_weights = losses, weights
        chosen, _ = recorded.log_probs.chunk(2)
        # The Trainer divides by the micro-batches of a step, and gradients are averaged over processes.
        parts = self.current_gradient_accumulation_steps * self.args.world_size
        return loss - share * chosen.sum() * parts / tokens

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> Any:
        """Tokens of the chosen answers in a step over all processes, which the `sft` loss is a mean over."""
        if "sft" not in self.loss_types or not batch_samples:
            return None
        counts = [batch["completion_mask"].chunk(2)[0][:, 1:].sum() for batch in batch_samples]
        return self.accelerator.gather(torch.stack(counts).sum().to(device)[None]).sum()


class _Recorded:
    """A model that remembers the log-probabilities of its last call."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.log_probs: torch.Tensor

    def __call__(self, **inputs: Any) -> Any:
        outputs = self.model(**inputs)
        self.log_probs = outputs.log_probs
        return outputs


def copy_for_reference(model: Any) -> Any:
    """The model as it is now, frozen."""
    reference = copy.deepcopy(model).eval()
    return reference.requires_grad_(False)
