"""What all trainers share, on top of transformers' Trainer or any of TRL's: data order, the guard of the loss, the final save."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME

from hfrecipes.trainers.sampler import EpochSampler
from hfrecipes.trainers.saved import verify_saved


class NonFiniteLossError(FloatingPointError):
    """The loss became nan or infinite; nothing was saved after that."""


class RecipeTrainerMixin:
    """Comes before the Trainer class in the bases: `class PretrainTrainer(RecipeTrainerMixin, Trainer)`.

    Features:
        * rows come in the order of `EpochSampler`, whatever the number of processes;
        * a loss that is not finite stops the run before a log, an evaluation or a save could follow it;
        * `save_final` writes a complete model under every layout and verifies what it wrote.
    """

    # Wall seconds of the evaluations during training; speed is that of the training steps alone.
    evaluation_seconds = 0.0

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        nested, began = getattr(self, "_evaluating", False), time.monotonic()
        self._evaluating = True
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            # The Trainer calls itself once for each of several data sets.
            self._evaluating = nested
            self.evaluation_seconds += 0.0 if nested else time.monotonic() - began

    @property
    def global_batch_size(self) -> int:
        return self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        rows = len(self.train_dataset if train_dataset is None else train_dataset)
        return EpochSampler(rows, self.global_batch_size, self.args.seed)

    # The loss

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        bad = ~torch.isfinite(loss)
        previous = getattr(self, "_non_finite", None)
        self._non_finite = bad if previous is None else previous | bad
        if loss.device.type == "cpu":
            # On a GPU reading it would stall the queue at every micro-batch; it is read before anything is kept.
            self.check_loss()
        return loss

    def check_loss(self) -> None:
        """Raises where any loss since the start was not finite.

        Raises:
            NonFiniteLossError: on every process, naming the step.
        """
        if getattr(self, "_non_finite", None) is None or not bool(self._non_finite):
            return
        where = f"step {self.state.global_step + 1}"
        raise NonFiniteLossError(
            f"the loss is not finite at {where}: lower training.learning_rate, or check the data and weights"
        )

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        control = self.control
        if control.should_log or control.should_save or control.should_evaluate:
            self._agree_on_loss()
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def _agree_on_loss(self) -> None:
        """Every process learns of a bad loss on any of them; else the others would wait for it in the next collective."""
        if self.args.world_size > 1 and getattr(self, "_non_finite", None) is not None:
            flags = self.accelerator.gather(self._non_finite.to(torch.int32).reshape(1))
            self._non_finite = flags.any()
        self.check_loss()

    def train_or_restore(self, checkpoint: Path | None) -> None:
        """Trains from the beginning or from a checkpoint; one of a finished training is loaded and nothing is trained.

        (The stock Trainer takes one step more where it is resumed at its last.)
        """
        if checkpoint is not None:
            state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
            if state.global_step >= state.max_steps:
                self._load_from_checkpoint(str(checkpoint))
                self.state = state
                return
        self.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))

    # Saving

    def save_final(self, folder: Path) -> None:
        """Writes the trained model where plain `from_pretrained` finds it, complete under FSDP2 and ZeRO-3 too.

        Raises:
            RuntimeError: where what was written does not hold every weight of the model.
        """
        if self.is_fsdp_enabled:
            # With sharded state dicts the stock Trainer writes no model at all.
            self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        self.save_model(str(folder), _internal_call=True)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            verify_saved(self.accelerator.unwrap_model(self.model, keep_torch_compile=False), folder)
