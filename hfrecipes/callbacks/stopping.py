"""A run that is asked to stop finishes its step, saves, and ends; every process at the same step.

A request that comes during an evaluation or a save is met right after it, with the checkpoint of that very step.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hfrecipes.callbacks.signals import StopRequest, name_of, say


class StopCallback(TrainerCallback):
    """Turns a `StopRequest` into a save and the end of the training. Comes after all other callbacks.

    It ends the training once something is saved, not before: `save_strategy: best` can overrule a save that was asked for.
    `StopRequest.step` then says after which step. It stays None where the training ended without that.

    Args:
        stop: What signals ask for. Their first one is deferred between `on_train_begin` and `on_train_end`.
    """

    def __init__(self, stop: StopRequest) -> None:
        self.stop = stop
        self._group: dist.ProcessGroup | None = None
        self._training = False
        self._evaluating = False
        self._agreed = False
        self._saved: int | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._group is None and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            # Of its own and on the CPU: to agree, nobody waits for what a GPU has queued.
            self._group = dist.new_group(backend="gloo")
        self._training, self._saved = True, None
        self.stop.defer(functools.partial(self._tell, state))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        # What is due at the end of an epoch comes first, else the resumed run would lack it.
        if self._agree() and not _ends_epoch(state):
            control.should_save = True

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._evaluating = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._evaluating = False
        if self._training and self._agree():
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._saved = state.global_step
        if self._agree():
            control.should_training_stop = True
            self.stop.step = state.global_step

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.stop.step is None:
            control.should_save = control.should_save or self._agreed
            return
        # The Trainer comes here from the middle of an epoch, too; saved it has already.
        control.should_save = False
        if not _ends_epoch(state):
            control.should_log = control.should_evaluate = False

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._training = False
        self.stop.act_at_once()
        if self._agree() and self._saved == state.global_step:
            self.stop.step = state.global_step

    def _agree(self) -> bool:
        """Whether any process was asked to stop, which all of them learn here at the same place."""
        if not self._agreed:
            asked = self.stop.signal or 0
            if self._group is not None:
                flag = torch.tensor([asked])
                dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group)
                asked = int(flag)
            if asked:
                self.stop.note(asked)
                self._agreed = True
        return self._agreed

    def _tell(self, state: TrainerState, signum: int, again: bool) -> None:
        if not state.is_world_process_zero:
            return
        doing = "the evaluation" if self._evaluating else f"step {state.global_step + 1}"
        rest = "stopping at once" if again else f"finishing {doing}, then saving; once more stops at once"
        say(f"{name_of(signum)}: {rest}")


def shield_workers(loader: Any) -> Any:
    """Lets a data loader's worker processes live through signals to their whole group; the training needs them to its step's end.

    Args:
        loader: A torch DataLoader, or accelerate's around one, before its first iteration.

    Returns:
        The same loader.
    """
    inner = getattr(loader, "base_dataloader", loader)
    if inner.num_workers:
        inner.worker_init_fn = functools.partial(_start_shielded, inner.worker_init_fn)
        # Once however many loaders there are, and later than multiprocessing's own, which it so comes before.
        atexit.unregister(_end_workers)
        atexit.register(_end_workers)
    return loader


def _end_workers() -> None:
    """At the program's end multiprocessing sends SIGTERM and waits without limit, which a shielded process would not notice."""
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    if workers and hasattr(signal, "SIGCHLD"):
        # Torch's handler takes the death of a worker for a failure, and raises in whatever runs then.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in workers:
        process.kill()


def _start_shielded(start: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        # Torch has set a handler of its own for SIGTERM, below Python. Workers end when their loader says so or is gone.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1})
    if start is not None:
        start(worker)


def _ends_epoch(state: TrainerState) -> bool:
    return bool(state.epoch) and float(state.epoch).is_integer()
