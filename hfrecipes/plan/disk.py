"""Bytes that a run writes, at its fullest moment, and whether the disk has room for them.

A checkpoint is removed only after its successor is whole, so the fullest moment is right before that.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from hfrecipes.plan.footprint import Footprint
from hfrecipes.plan.units import gib
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem

# TrainingArguments' own defaults.
DEFAULT_SAVE_STEPS = 500
DEFAULT_LOGGING_STEPS = 500
# Metrics of one log call: as a line of metrics.jsonl, and again in the trainer_state.json of every later checkpoint.
LOG_BYTES = 256
# run.json, recipe.yaml, the card and the report of a short run.
PAGES_BYTES = 256 * 1024
# With less than this left, whatever else writes there decides whether the run survives.
TIGHT = 0.1


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """What a run puts on a disk; properties are what it adds to what lies there now.

    Args:
        checkpoint_bytes: One checkpoint.
        model_bytes: The final model, with its tokenizer.
        log_bytes: Metrics, facts, card and report.
        written: Checkpoints that the whole run writes; None where its steps are not known.
        limit: `save_total_limit`; None keeps all.
        best: Whether the best checkpoint is kept beside the newest.
        existing: Checkpoints that a resumed run finds.
    """

    checkpoint_bytes: float
    model_bytes: float
    log_bytes: float
    written: int | None
    limit: int | None
    best: bool = False
    existing: int = 0

    @property
    def kept(self) -> int | None:
        """Checkpoints that lie there at the end; None where it is not known."""
        if self.limit is None:
            return self.written
        most = self.limit + self.best
        return most if self.written is None else min(self.written, most)

    @property
    def checkpoints(self) -> int:
        """Checkpoints that are added to the existing ones at most, the one that is being written with them."""
        if self.kept is None:
            return 1  # nobody knows how many more
        in_flight = self.kept + 1 if self.written is None else min(self.written, self.kept + 1)
        return max(in_flight - self.existing, 1 if in_flight > self.kept else 0)

    @property
    def total(self) -> float:
        """Bytes that are added at the fullest moment."""
        # The model is smaller than a checkpoint, and by its time the one too many is gone.
        all_kept = self.kept is None or self.kept == self.written
        model = self.model_bytes if all_kept else 0.0
        return self.checkpoints * self.checkpoint_bytes + model + self.log_bytes

    def resumed(self, existing: int) -> DiskNeed:
        """The need of a run that goes on.

        Args:
            existing: Checkpoint folders that lie there.
        """
        return replace(self, existing=existing)

    def limited_to(self, free: float) -> DiskNeed | None:
        """The same run with the largest `save_total_limit` that fits; None where not even one checkpoint may stay."""
        at_once = int((free - self.log_bytes) // self.checkpoint_bytes) + self.existing
        if self.written is not None:
            at_once = min(at_once, self.written)
        limited = replace(self, limit=at_once - 1 - self.best)
        return limited if limited.limit >= 1 and limited.total <= free else None


def disk_need(recipe: Recipe, memory: Footprint, steps: int | None, epochs: float | None) -> DiskNeed:
    """What a resolved recipe writes.

    Args:
        recipe: Resolved.
        memory: From `footprint`.
        steps: Optimizer steps of the run; None where they are not known.
        epochs: Epochs of the Trainer, each a whole number of steps.
    """
    log_bytes = LOG_BYTES * _logs(recipe, steps)
    return DiskNeed(
        checkpoint_bytes=memory.checkpoint + log_bytes,
        model_bytes=memory.model,
        log_bytes=log_bytes + PAGES_BYTES,
        written=_written(recipe, steps, epochs),
        limit=recipe.get("training.save_total_limit"),
        best=_keeps_best(recipe),
    )


def free_bytes(folder: Path, *, replaced: bool = False) -> int:
    """What may still be written to the disk of a folder, by a user without privileges.

    Quotas of a user are not in it on every file system; a save that meets one is told by its error.

    Args:
        folder: Need not exist.
        replaced: Whether what lies in the folder is removed before.
    """
    free = shutil.disk_usage(_on_disk(folder)).free
    if replaced:
        free += sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return free


def disk_problems(need: DiskNeed, folder: Path, free: float) -> list[Problem]:
    """An error where a run cannot fit on its disk, a warning where it leaves less than a tenth of the room.

    Args:
        need: From a plan; `resumed` where the run goes on.
        folder: The run directory; need not exist.
        free: From `free_bytes`.
    """
    if need.total <= (1 - TIGHT) * free:
        return []
    tight = need.total <= free
    fault = f"the run needs {gib(need.total)} ({_words(need)}), and {gib(free)} are free on {_on_disk(folder)}"
    severity = "warning" if tight else "error"
    return [Problem(str(folder), fault, _remedy(need, free), severity)]


def _words(need: DiskNeed) -> str:
    if not need.checkpoints:
        return f"a model of {gib(need.model_bytes)}"
    plural = "s" if need.checkpoints > 1 else ""
    more = " more" if need.existing else ""
    least = "at least " if need.kept is None else ""
    return f"{least}{need.checkpoints}{more} checkpoint{plural} of {gib(need.checkpoint_bytes)} at once"


def _remedy(need: DiskNeed, free: float) -> str:
    advice = []
    fewer = need.limited_to((1 - TIGHT) * free) or need.limited_to(free)
    if fewer is not None and (need.limit is None or fewer.limit < need.limit):
        advice.append(f"say training.save_total_limit: {fewer.limit}")
    return "; ".join([*advice, "give --runs-dir on another disk", "or free some space"])


def _written(recipe: Recipe, steps: int | None, epochs: float | None) -> int | None:
    """Checkpoints of the whole run: at each interval, and at the end."""
    strategy = recipe.get("training.save_strategy", "steps")
    if strategy == "no":
        return 0
    if strategy == "epoch":
        return None if epochs is None else math.ceil(epochs)
    if strategy == "best":
        # Each evaluation can be better than all before.
        if recipe.get("training.eval_strategy") == "epoch":
            return None if epochs is None else math.ceil(epochs)
        every = recipe.get("training.eval_steps") or recipe.get("training.logging_steps", DEFAULT_LOGGING_STEPS)
        return _occasions(every, steps)
    return _occasions(recipe.get("training.save_steps", DEFAULT_SAVE_STEPS), steps)


def _occasions(every: float, steps: int | None) -> int | None:
    """How often something happens that is done at an interval and at the last step; below 1, `every` is a share."""
    if every <= 0:
        return 1
    if every < 1 and steps is None:
        return math.ceil(1 / every)
    return None if steps is None else math.ceil(steps / (math.ceil(every * steps) if every < 1 else every))


def _logs(recipe: Recipe, steps: int | None) -> int:
    if recipe.get("training.logging_strategy", "steps") != "steps":
        return 0
    return _occasions(recipe.get("training.logging_steps", DEFAULT_LOGGING_STEPS), steps) or 0


def _keeps_best(recipe: Recipe) -> bool:
    training = recipe.get("training", {})
    return bool(
        training.get("load_best_model_at_end")
        or training.get("metric_for_best_model")
        or training.get("save_strategy") == "best"
        or training.get("lr_scheduler_type") == "reduce_lr_on_plateau"
    )


def _on_disk(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
