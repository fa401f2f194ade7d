"""What all trainers share, on top of transformers' Trainer or any of TRL's."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hfrecipes.callbacks.folders import last_finished, remove_checkpoint
from hfrecipes.callbacks.stopping import shield_workers
from hfrecipes.data.mixture.order import MixtureSampler
from hfrecipes.data.mixture.plan import MixturePlan
from hfrecipes.models.peft_methods import embeddings_left_out, save_prompt_network
from hfrecipes.recipe.manifest import MANIFEST, write_manifest
from hfrecipes.recipe.stops import DiskFullError
from hfrecipes.trainers.decay import left_alone
from hfrecipes.trainers.disk import (
    estimate_model_bytes,
    explain_full_disk,
    next_checkpoint_bytes,
    refuse_full_disk,
    spoken_name,
)
from hfrecipes.trainers.guarded import GuardedTrainer
from hfrecipes.trainers.resumable import ResumableTrainer
from hfrecipes.trainers.sampler import EpochSampler
from hfrecipes.trainers.saved import verify_saved


class RecipeTrainerMixin(GuardedTrainer, ResumableTrainer):
    """Comes before the Trainer class in the bases: `class PretrainTrainer(RecipeTrainerMixin, Trainer)`.

    Features:
        * rows come in the order of `EpochSampler`, or of the plan of a mixture, whatever the number of processes;
        * losses, gradients and weights are guarded, see `GuardedTrainer`;
        * a checkpoint is gone on from exactly, see `ResumableTrainer`;
        * nothing is saved where the disk has no room for it, and a disk that fills up meanwhile leaves what was whole;
        * `save_final` writes a complete model under every layout, verifies what it wrote, and puts it in place at once.
    """

    # Wall seconds of the evaluations during training; speed is that of the training steps alone.
    evaluation_seconds = 0.0
    # Which row of which source is sample n, for data that are mixed; the rows of the sources follow each other.
    mixture_plan: MixturePlan | None = None
    # What weight decay leaves alone, see `trainers/decay.py`; None is transformers' own choice.
    no_decay: list[str] | None = None

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

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler | MixtureSampler:
        rows = len(self.train_dataset if train_dataset is None else train_dataset)
        if self.mixture_plan is not None:
            assert rows == sum(self.mixture_plan.lengths.values())
            self._sampler = MixtureSampler(self.mixture_plan)
            return self._sampler
        self._sampler = EpochSampler(rows, self.global_batch_size, self.args.seed)
        return self._sampler

    def set_sampler_epoch(self) -> None:
        """Tells the sampler where in the order of rows the training goes on.

        Of a resumed epoch accelerate wraps it once more for every process, and its own `set_epoch` then no longer reaches it:
        the rest of the epoch would be read in the order of the first.
        """
        read = self.state.global_step * self.global_batch_size
        if isinstance(self._sampler, MixtureSampler):
            # The Trainer throws away as many; they need not be looked up for that.
            self._sampler.passed_over = read
        else:
            self._sampler.set_epoch(read // len(self._sampler))

    def rows_read(self) -> np.ndarray:
        """The rows of all steps so far, in the order in which they were read: `(samples,)`."""
        return self._sampler.order(0, self.state.global_step * self.global_batch_size)

    def _get_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        # Ctrl-C and schedulers signal a whole group of processes; without its workers no step could be finished.
        return shield_workers(super()._get_dataloader(*args, **kwargs))

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        if self.no_decay is None:
            return super().get_decay_parameter_names(model)
        alone = left_alone(model, self.no_decay)
        return [name for name, _ in model.named_parameters() if name not in alone]

    def try_out(self) -> None:
        """Builds what `train` begins with, so that what the libraries refuse is known before; the optimizer is kept.

        Raises:
            Exception: whatever they raise over the arguments.
        """
        with torch.random.fork_rng(devices=[]):
            *_, steps = self.set_initial_training_values(self.args, self.get_train_dataloader())
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            # These are given their optimizer with the model in parts.
            return
        self.create_optimizer()
        # On another optimizer: a schedule sets the rates of its own one to those of its first step.
        self.create_scheduler(steps, torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], self.args.learning_rate))
        self.lr_scheduler = None

    # Saving

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        with embeddings_left_out(self.accelerator.unwrap_model(self.model, keep_torch_compile=False)):
            super()._save(output_dir, state_dict)
        save_prompt_network(self.model, Path(output_dir or self.args.output_dir))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves, after a look at the weights and at the disk.

        Raises:
            PoisonedRunError: where a weight is not fit to be saved.
            DiskFullError: where there is no room.
        """
        folder = Path(output_dir or self.args.output_dir)
        self.refuse_diverged()
        self._refuse_full_disk(folder)
        super().save_model(output_dir, _internal_call)

    def _refuse_full_disk(self, folder: Path) -> None:
        """Those that write look, and every process learns of it, else the others would wait in the next collective."""
        refusal = None
        if self.args.should_save:
            last = last_finished(Path(self.args.output_dir))
            is_checkpoint = folder.name.startswith(PREFIX_CHECKPOINT_DIR)
            needed = next_checkpoint_bytes(self, last) if is_checkpoint else estimate_model_bytes(self)
            try:
                refuse_full_disk(folder, needed, last)
            except DiskFullError as error:
                refusal = error
        if self._anywhere(refusal is not None):
            raise refusal or DiskFullError(f"no room for {spoken_name(folder)} on the disk of another process")

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with self._room_on_disk(folder):
            super()._maybe_log_save_evaluate(*args, **kwargs)

    def save_final(self, folder: Path) -> None:
        """Writes the trained model where plain `from_pretrained` finds it, complete under FSDP2 and ZeRO-3 too.

        It is written beside `folder`, verified, completed with a manifest, and only then put in the place of what stood
        there before.

        Raises:
            RuntimeError: where what was written does not hold every weight of the model.
            PoisonedRunError: where a weight is not fit to be saved.
            DiskFullError: where there is no room.
        """
        draft, old = (folder.with_name(f".{folder.name}.{word}") for word in ("part", "old"))
        if self.args.should_save:
            for left in (draft, old):
                shutil.rmtree(left, ignore_errors=True)
        if self.is_fsdp_enabled:
            # With sharded state dicts the stock Trainer writes no model at all.
            self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        self.accelerator.wait_for_everyone()
        with self._room_on_disk(draft):
            self.save_model(str(draft), _internal_call=True)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                (draft / TRAINING_ARGS_NAME).unlink(missing_ok=True)
                verify_saved(self.accelerator.unwrap_model(self.model, keep_torch_compile=False), draft)
                write_manifest(draft, step=self.state.global_step)
        if self.args.should_save:
            with contextlib.suppress(FileNotFoundError):
                folder.rename(old)
            draft.rename(folder)
            shutil.rmtree(old, ignore_errors=True)

    @contextlib.contextmanager
    def _room_on_disk(self, folder: Path) -> Iterator[None]:
        """Takes away what was half written when the disk filled up, and says what stands."""
        try:
            yield
        except DiskFullError:
            raise
        except Exception as error:
            if not explain_full_disk(error, folder.parent):
                raise
            if not (folder / MANIFEST).is_file():
                remove_checkpoint(folder)
            last = last_finished(Path(self.args.output_dir))
            stands = f"{last.name} is whole: free some space and go on with --resume" if last else "no checkpoint yet"
            raise DiskFullError(
                f"the disk of {folder.parent} filled up while {spoken_name(folder)} was written; {stands}"
            ) from error
