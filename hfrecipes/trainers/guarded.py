"""The guards of a training: nothing is saved after a loss, a gradient or a weight has left all bounds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from hfrecipes.callbacks.folders import finished_checkpoints, step_of
from hfrecipes.data.gate import describe_rows
from hfrecipes.recipe.stops import PoisonedRunError
from hfrecipes.trainers.soundness import unsound_forward
from hfrecipes.trainers.weights import poisoned_weight

# A loss of this many times that of guessing among all tokens is no spike: the weights have been thrown away.
DIVERGED = 10.0
# Rows whose text is shown, and rows that are named at most.
_SHOWN_ROWS, _LISTED_ROWS = 3, 20


class GuardedTrainer:
    """Comes before the Trainer class in the bases.

    Features:
        * a loss that is not finite, or beyond `loss_bound`, and a gradient that is not finite stop the run: before the
          optimizer's step on a CPU; on a GPU, where reading them at each step would stall the queue, before anything is
          logged, measured or saved;
        * weights are looked at before the first step, when a checkpoint has been loaded, and before they are saved: then
          a training row has to go through them, since no loss has seen the last update yet;
        * a checkpoint is called whole only where its weights were found sound in this session;
        * every process stops at the same step.
    """

    @property
    def loss_bound(self) -> float:
        """The loss beyond which a run has diverged; infinite where the size of the vocabulary is not known."""
        guessing, config = self._guessing, self.model.config.get_text_config()
        cap = getattr(config, "final_logit_softcapping", None) or math.inf
        # Capped logits (Gemma 2) cannot reach ten times. Thrown to both ends of the cap at random, they cost cap + ln(V / 2).
        return min(DIVERGED * guessing, cap + guessing / 2)

    @property
    def step_bound(self) -> float:
        """The loss of a step beyond which a run has diverged, where it is another than that of reading a row."""
        return self.loss_bound

    @property
    def _guessing(self) -> float:
        """What guessing among all tokens costs, in nats."""
        vocabulary = getattr(self.model.config.get_text_config(), "vocab_size", None)
        return math.log(vocabulary) if vocabulary and vocabulary > 1 else math.inf

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self._count_micro_batch()
        loss = super().training_step(model, inputs, num_items_in_batch)
        # Not `>`: nan compares false with everything.
        self._watch("loss", loss, ~(loss.abs() <= self.step_bound))
        if self.args.world_size == 1 and loss.device.type == "cpu":
            self.refuse_poison()
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if norm is None or self._gradients_may_overflow():
            return norm
        tensor = torch.as_tensor(norm).detach()
        tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        self._watch("gradient", tensor, ~torch.isfinite(tensor))
        if tensor.device.type == "cpu":
            # The norm is that of the averaged gradient: every process reads the same one.
            self.refuse_poison()
        return norm

    def _gradients_may_overflow(self) -> bool:
        """Loss scaling lets gradients overflow on purpose and skips such a step."""
        return self.accelerator.scaler is not None or self.is_deepspeed_enabled

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.control.should_log or self.control.should_save or self.control.should_evaluate:
            self._agree()
        super()._maybe_log_save_evaluate(*args, **kwargs)

    def refuse_poisoned_weights(self, where: str) -> None:
        """Raises where a weight holds nan or infinity, or is trained and larger than half precision can hold.

        Args:
            where: What the message begins with.

        Raises:
            PoisonedRunError: on every process, naming the weight.
        """
        found = poisoned_weight(self.model)
        if self._anywhere(found is not None):
            raise PoisonedRunError(f"{where} {found or 'a weight in the part of another process is not fit'}")

    def refuse_unsound_weights(self, where: str) -> None:
        """Raises for poisoned weights, and for those with which the model cannot be gone on with.

        Leaves no trace: neither random numbers nor modes of modules are others afterwards.

        Raises:
            PoisonedRunError: on every process, naming the weight, or the row and what it cost.
        """
        self.refuse_poisoned_weights(where)
        number = self.state.global_step % len(self.train_dataset)
        # An engine of DeepSpeed gathers what it has split; the others do it inside the model.
        model = self.model_wrapped if self.is_deepspeed_enabled else self.model
        with self.compute_loss_context_manager():
            found = self.unsound_row(model, self.train_dataset[number])
        if self._anywhere(found is not None):
            raise PoisonedRunError(
                f"{where} row {number} of the training rows {found or 'is not read on all processes'}"
            )
        self._sound_steps().add(self.state.global_step)

    def unsound_row(self, model: Any, row: dict[str, Any]) -> str | None:
        """What is wrong with a model, seen from one training row; None where nothing is."""
        return unsound_forward(model, row, self.loss_bound, self.args.device)

    def refuse_diverged(self) -> None:
        """Raises where the weights after the last update are not fit to be saved.

        Raises:
            PoisonedRunError: saying what stands, and what to change.
        """
        try:
            self.refuse_unsound_weights(f"after the update of step {self.state.global_step},")
        except PoisonedRunError as error:
            mend = f"lower training.learning_rate (it is {self.args.learning_rate:.3g})"
            raise PoisonedRunError(f"{error}: the run has diverged. {self._what_stands()} To mend: {mend}") from None

    def refuse_unsound_folder(self, folder: Path, instead: str) -> None:
        """Raises where the weights that were just loaded are not fit to go on with.

        Args:
            folder: Where they come from.
            instead: What becomes of the run without that folder.
        """
        try:
            self.refuse_unsound_weights(f"{folder}:")
        except PoisonedRunError as error:
            raise PoisonedRunError(f"{error}. To mend: remove this folder; {instead}") from None

    def _sound_steps(self) -> set[int]:
        """Steps of which this session has found the weights sound."""
        if not hasattr(self, "_sound"):
            self._sound: set[int] = set()
        return self._sound

    def refuse_poison(self) -> None:
        """Raises where any loss or gradient since the start was bad.

        Raises:
            PoisonedRunError: naming the step, the rows of its batch and the last checkpoint.
        """
        for kind, (step, value) in self._watched().items():
            if int(step) >= 0:
                raise PoisonedRunError(self._report(kind, int(step), float(value)))

    def _watch(self, kind: str, value: torch.Tensor, bad: torch.Tensor) -> None:
        """Remembers the first bad step and value, without waiting for the device."""
        # `full` fills on the device; a number copied to it would wait for all that is queued there.
        step, first = self._watched().get(kind, (torch.full((), -1, device=value.device), value.detach()))
        new = bad & (step < 0)
        now = torch.full((), self.state.global_step + 1, device=value.device)
        self._watched()[kind] = (torch.where(new, now, step), torch.where(new, value.detach(), first))

    def _watched(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        if not hasattr(self, "_first_bad"):
            self._first_bad: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        return self._first_bad

    def _agree(self) -> None:
        """Every process learns of what was bad on any of them; else the others would wait for it in the next collective."""
        if not self._anywhere(any(int(step) >= 0 for step, _ in self._watched().values())):
            return
        self.refuse_poison()
        message = f"the loss of another process left all bounds before step {self.state.global_step + 1}"
        raise PoisonedRunError(f"{message}. {self._what_stands()}")

    def _anywhere(self, flag: bool) -> bool:
        if self.args.world_size == 1:
            return flag
        return bool(self.accelerator.gather(torch.tensor([int(flag)], device=self.accelerator.device)).any())

    # What a message says

    def _report(self, kind: str, step: int, value: float) -> str:
        if math.isfinite(value):
            what = f"the loss is {value:.4g} at step {step}, more than {self._bound_in_words()}: the run has diverged"
        else:
            what = f"the {'norm of the gradient' if kind == 'gradient' else 'loss'} is {value} at step {step}"
        rate = f"learning_rate is {self._get_learning_rate():.3g} there" if self.lr_scheduler is not None else ""
        mend = f"lower training.learning_rate ({rate}), or look at these rows and at the weights it began with"
        return f"{what}. {self._rows_of(step)}. {self._what_stands()} To mend: {mend}"

    def _bound_in_words(self) -> str:
        return f"{self.step_bound:.3g} (guessing among all tokens costs {self._guessing:.3g})"

    def _what_stands(self) -> str:
        finished = finished_checkpoints(Path(self.args.output_dir))
        sound = [path.name for path in finished if step_of(path) in self._sound_steps()]
        return f"Nothing was saved after that; {f'{sound[-1]} is whole.' if sound else 'there is no checkpoint yet.'}"

    def _rows_of(self, step: int) -> str:
        """The rows of a step's batch; those of the micro-batch alone where it is known."""
        batch, micro = self.global_batch_size, self.args.train_batch_size
        rows = self._sampler.order((step - 1) * batch, step * batch).tolist()
        if self.args.world_size == 1 and step == self.state.global_step + 1 and self._micro[0] == step:
            rows = rows[self._micro[1] * micro : (self._micro[1] + 1) * micro] or rows
        told = "; ".join(describe_rows(self.train_dataset, rows, self._decode, _SHOWN_ROWS))
        others = ", ".join(map(str, rows[_SHOWN_ROWS:_LISTED_ROWS])) + (" …" if len(rows) > _LISTED_ROWS else "")
        return f"Its batch held {told}{f' ({others})' if others else ''}"

    def _decode(self, ids: list[int]) -> str:
        return self.processing_class.decode(ids) if self.processing_class is not None else str(ids)

    def _count_micro_batch(self) -> None:
        step, micro = getattr(self, "_micro", (0, 0))
        now = self.state.global_step + 1
        self._micro = (now, micro + 1 if step == now else 0)
