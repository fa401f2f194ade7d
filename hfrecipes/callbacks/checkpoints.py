"""Completing each checkpoint with its manifest, and rotation.

The manifest is written in `on_save`, after every process has written its files. Rotation is ours and runs after it, so the last
valid checkpoint is never removed. (Writing to another folder and renaming was tried: the Trainer's `best_model_checkpoint` then
names a folder that is gone.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hfrecipes.callbacks.manifest import rotate, write_manifest


class CheckpointCallback(TrainerCallback):
    """Completes each checkpoint with its manifest, then removes old ones.

    Args:
        keep: Checkpoints to keep (`save_total_limit`), the best one apart; None keeps all.
    """

    def __init__(self, keep: int | None) -> None:
        self.keep = keep

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if dist.is_available() and dist.is_initialized():
            dist.barrier()
        if not args.should_save:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        write_manifest(folder)
        if self.keep is not None:
            rotate(Path(args.output_dir), self.keep, state.best_model_checkpoint)
