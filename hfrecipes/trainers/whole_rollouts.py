"""Steps that belong to rollouts: one that is begun is finished before anything is measured, saved or ended."""

from __future__ import annotations

from typing import Any


class WholeRollouts:
    """Comes before a Trainer class in the bases, whose arguments say `steps_per_rollout` and `rollout_size`.

    Features:
        * evaluations and saves wait for the end of a rollout, so that a resumed run begins with a whole one;
        * a last rollout that is begun is finished.
    """

    # Whether an evaluation and a save are waited with.
    _waiting: tuple[bool, bool] = (False, False)

    @property
    def rollouts_done(self) -> int:
        """Whole rollouts that were learnt from."""
        return self.state.global_step // self.args.steps_per_rollout

    def set_initial_training_values(self, args: Any, dataloader: Any) -> tuple[Any, ...]:
        """With whole rollouts. Samples are completions, whatever is learnt from each."""
        *values, max_steps = super().set_initial_training_values(args, dataloader)
        steps = self.args.steps_per_rollout
        max_steps = -(-max_steps // steps) * steps
        # Epochs, steps of one, examples, samples, batch, micro-batches of an epoch.
        values[2], values[3] = len(self.train_dataset), max_steps // steps * self.args.rollout_size
        return (*values, max_steps)

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        control = self.control
        evaluate, save = (
            now or before
            for now, before in zip((control.should_evaluate, control.should_save), self._waiting, strict=True)
        )
        if self.state.global_step % self.args.steps_per_rollout:
            self._waiting = evaluate, save
            control.should_evaluate = control.should_save = False
        else:
            self._waiting = False, False
            control.should_evaluate, control.should_save = evaluate, save
        super()._maybe_log_save_evaluate(*args, **kwargs)
