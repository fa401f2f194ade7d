"""Completing each checkpoint with its manifest, rotation, and bringing back what the stock Trainer does not.

The manifest is written in `on_save`, after every process has written its files. Rotation is ours and runs after it, so the last
valid checkpoint is never removed. (Writing to another folder and renaming was tried: the Trainer's `best_model_checkpoint` then
names a folder that is gone.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hfrecipes.callbacks.contents import ACCUMULATORS
from hfrecipes.callbacks.folders import missing_state, rotate
from hfrecipes.recipe.manifest import write_manifest


class CheckpointCallback(TrainerCallback):
    """Completes each checkpoint, removes old ones, and restores what lies in one that is resumed.

    Args:
        trainer: One of ours: its `accumulators` are saved and restored.
        keep: Checkpoints to keep (`save_total_limit`), the best one apart; None keeps all.
        facts: What the manifest says beside the step and the number of processes.
        tell: Called with what a resumed training does otherwise than planned.
    """

    def __init__(
        self,
        trainer: Any,
        keep: int | None,
        facts: dict[str, Any] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.trainer = trainer
        self.keep = keep
        self.facts = facts or {}
        self.tell = tell

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        checkpoint = self.trainer.resumed_from
        if checkpoint is None:
            return
        self.trainer.refuse_unsound_folder(checkpoint, "--resume takes an older one")
        self.trainer.restore_sums()
        before, after = self.trainer.rates or (0.0, 0.0)
        if self.tell is not None and before != after:
            step = (
                f"the learning rate of step {state.global_step + 1} is {after:.4g}, by the old plan it was {before:.4g}"
            )
            self.tell(f"the schedule is planned anew: {step}")
        self.trainer.restore_state()
        self._rotate(args, state)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # Not before: every callback has seen the training begin by now, and will see it end.
        if self.trainer.resumed_from is not None:
            self.trainer.end_if_nothing_is_left()
        self.trainer.set_sampler_epoch()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        accumulators = self.trainer.accumulators()
        if dist.is_available() and dist.is_initialized():
            dist.barrier()
        if not args.should_save:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / ACCUMULATORS).write_text(json.dumps(accumulators), encoding="utf-8")
        missing = missing_state(folder)
        if missing:
            raise RuntimeError(f"{folder} was saved without {' and '.join(missing)}, and could not be resumed")
        write_manifest(folder, step=state.global_step, world_size=args.world_size, **self.facts)
        self._rotate(args, state)

    def _rotate(self, args: TrainingArguments, state: TrainerState) -> None:
        """Also when a run is resumed: it can have been cut off between a save and this."""
        if self.keep is not None and args.should_save:
            rotate(Path(args.output_dir), self.keep, state.best_model_checkpoint)
