"""The trainer of `kind: dpo`: TRL's, on rows that are prepared, with a reference that is looked at before it is trusted."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.utils import is_peft_model
from trl import DPOTrainer

from hfrecipes.objectives.answers import PairCollator
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.trainers.means import MeansOfTRL
from hfrecipes.trainers.mixin import RecipeTrainerMixin

# The copy of an incoming adapter that TRL makes for a reference.
REFERENCE_ADAPTER = "ref"
# How far the policy may be from its own copy before the first update, as a share of the answer's log-probability: what is
# added up in another order differs in the last bits, of which float32 has 24, TF32 and float16 11, bfloat16 8.
_ROUNDING = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}


class RecipeDPOTrainer(MeansOfTRL, RecipeTrainerMixin, DPOTrainer):
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

    def _refuse_other_reference(self) -> None:
        """Before the first update the policy is what it is compared with.

        Raises:
            PoisonedRunError: the reference is another model.
        """
        noted = self._metrics["train"]
        for side in ("chosen", "rejected"):
            ratio = noted[f"rewards/{side}"][-1] / self.beta
            log_probability = noted[f"logps/{side}"][-1]
            if not abs(ratio) <= self._rounding() * max(abs(log_probability), 1.0):
                raise PoisonedRunError(
                    f"the reference is not the model that the training starts from: before the first update the {side} answers "
                    f"have a log-ratio of {ratio:.4g} (at a log-probability of {log_probability:.4g}), where it has to be 0. "
                    "To mend: take an adapter that begins without effect (method: lora with init_lora_weights: true), or "
                    "adapter: null for full fine-tuning"
                )

    def _rounding(self) -> float:
        dtypes = {parameter.dtype for parameter in self.model.parameters() if parameter.is_floating_point()}
        dtypes |= {torch.bfloat16} if self.args.bf16 or self._is_quantized() else set()
        dtypes |= {torch.float16} if self.args.fp16 or self.args.tf32 else set()
        rounding = max(_ROUNDING.get(dtype, 0.0) for dtype in dtypes)
        # An adapter that has taken a part of the base gives it back with rounding.
        return 10 * rounding if self.ref_model is not None and is_peft_model(self.model) else rounding

    def _is_quantized(self) -> bool:
        return any(getattr(self.model, f"is_loaded_in_{bits}bit", False) for bits in (4, 8))

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
        if training and self._is_first() and self.args.disable_dropout:
            self._refuse_other_reference()
        return loss

    def _is_first(self) -> bool:
        return self.state.global_step == 0 and self._micro == (1, 0)

    def _note_lengths(self, completion_mask: torch.Tensor, mode: str) -> None:
        chosen, rejected = self.accelerator.gather(completion_mask.sum(dim=1).float()[None]).chunk(2, dim=1)
        for side, lengths in (("chosen", chosen), ("rejected", rejected)):
            self._metrics[mode][f"lengths/{side}"].append(float(lengths.mean()))

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

    # What is saved

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if is_peft_model(model) and REFERENCE_ADAPTER in model.peft_config:
            state = model.state_dict() if state_dict is None else state_dict
            state_dict = {name: tensor for name, tensor in state.items() if f".{REFERENCE_ADAPTER}." not in name}
        with _without_reference(model):
            super()._save(output_dir, state_dict)


class _Recorded:
    """A model that remembers the log-probabilities of its last call."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.log_probs: torch.Tensor

    def __call__(self, **inputs: Any) -> Any:
        outputs = self.model(**inputs)
        self.log_probs = outputs.log_probs
        return outputs


@contextlib.contextmanager
def _without_reference(model: Any) -> Iterator[None]:
    """Hides the adapter that is the reference from peft, which saves all that it knows."""
    known = model.peft_config if is_peft_model(model) else {}
    reference = known.pop(REFERENCE_ADAPTER, None)
    try:
        yield
    finally:
        if reference is not None:
            known[REFERENCE_ADAPTER] = reference


def copy_for_reference(model: Any) -> Any:
    """The model as it is now, frozen."""
    reference = copy.deepcopy(model).eval()
    return reference.requires_grad_(False)
