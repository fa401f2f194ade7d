"""The loop of PPO inside the stock Trainer: its steps are minibatches, and every few of them begin with a rollout."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer

from hfrecipes.trainers.ppo.config import PPOConfig
from hfrecipes.trainers.ppo.losses import policy_losses, value_losses
from hfrecipes.trainers.ppo.rollout import Minibatches, Rollout
from hfrecipes.trainers.ppo.watching import UPDATE_FIGURES, update_figures, update_sums
from hfrecipes.trainers.whole_rollouts import WholeRollouts


class PPOLoop(WholeRollouts, Trainer):
    """Serves micro-batches from rollouts. Who makes them says so in `make_rollout`.

    Features:
        * a step is a minibatch, whose gradient is weighted by tokens, however it is cut into micro-batches and processes;
        * a rollout that is begun is finished, see `WholeRollouts`;
        * with `target_kl`, the rest of a rollout's steps are left out once the policy has moved that far.
    """

    args: PPOConfig
    # The loss of a micro-batch is its part of the minibatch's already.
    loss_is_scaled_for_ga = True

    _rollout: Rollout | None = None
    _minibatches: Minibatches | None = None
    # Whether the rest of this rollout's steps is left out, and whether the last one was.
    _left_out = _was_left_out = False
    # Sums of micro-batches since the last log call, and since the last minibatch ended.
    _update_sums: Tensor | float = 0.0
    _minibatch_sums: Tensor | float = 0.0
    _tokens_read = 0

    def make_rollout(self, number: int) -> Rollout:
        """Completions of the next prompts, with advantages, of all processes."""
        raise NotImplementedError

    # Steps

    def get_train_dataloader(self) -> DataLoader:
        """Numbers of micro-batches; what they hold is known once there is a rollout. The same on every process."""
        rollouts = -(-len(self.train_dataset) // self.args.rollout_size)
        count = rollouts * self.args.steps_per_rollout * self.args.gradient_accumulation_steps
        self._get_train_sampler()
        return DataLoader(range(count), batch_size=1, collate_fn=_slot)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        epoch, minibatch, place = self._place(int(inputs["slot"]))
        if (epoch, minibatch, place) == (0, 0, 0):
            self._rollout, self._left_out = None, False
        self._was_left_out = self._left_out
        if self._left_out:
            # No gradient, and the optimizer's step is passed over: moments alone would move the weights on.
            self.accelerator.gradient_state._set_sync_gradients(False)
            return torch.zeros((), device=self.args.device)
        loss = super().training_step(model, inputs, num_items_in_batch)
        if place == self.args.gradient_accumulation_steps - 1:
            self._end_minibatch()
        return loss

    def _place(self, slot: int) -> tuple[int, int, int]:
        """Epoch within the rollout, minibatch, and place within the minibatch, of a micro-batch."""
        step, place = divmod(slot, self.args.gradient_accumulation_steps)
        epoch, minibatch = divmod(step % self.args.steps_per_rollout, self.args.num_mini_batches)
        return epoch, minibatch, place

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if "slot" not in inputs:
            return super()._prepare_inputs(inputs)
        if self._rollout is None:
            number = self.state.global_step // self.args.steps_per_rollout
            self._rollout = self.make_rollout(number)
            args, texts = self.args, self._rollout.texts
            places = args.process_index, args.world_size
            self._minibatches = Minibatches(
                texts, args.seed, number, args.num_mini_batches, args.train_batch_size, *places
            )
        return self._micro_batch(*self._place(int(inputs["slot"])))

    def _micro_batch(self, epoch: int, minibatch: int, place: int) -> dict[str, Any]:
        rollout = self._rollout
        rows, count = self._minibatches.micro(epoch, minibatch, place)
        ids, places = rollout.texts.batch(rows)
        mask = rollout.texts.mask[rows]
        named = {
            "old_logps": rollout.logps,
            "old_values": rollout.values,
            "advantages": rollout.advantages,
            "returns": rollout.returns,
        }
        batch = {name: values[rows][mask] for name, values in named.items()}
        return {"input_ids": ids, "responses": places, "count": count, "first": (epoch, minibatch) == (0, 0), **batch}

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The part of a minibatch's loss that lies in one micro-batch; over micro-batches and processes they add up to it."""
        args = self.args
        # The last token of a row is drawn, and not read.
        self._tokens_read = inputs["input_ids"][:, 1:].numel()
        made = model(input_ids=inputs["input_ids"], responses=inputs["responses"], temperature=args.temperature)
        if inputs["first"]:
            self.check_ratio(made["logps"], inputs["old_logps"])
        policy, clipped = policy_losses(made["logps"], inputs["old_logps"], inputs["advantages"], args.cliprange)
        value, values_clipped = value_losses(
            made["values"], inputs["old_values"], inputs["returns"], args.cliprange_value
        )
        with torch.no_grad():
            self._minibatch_sums = self._minibatch_sums + update_sums(
                policy, value, made["logps"], inputs["old_logps"], clipped, values_clipped, made["entropies"]
            )
        # Gradients of the processes are averaged.
        loss = (policy.sum() + args.vf_coef * value.sum()) / inputs["count"] * args.world_size
        return (loss, made) if return_outputs else loss

    def check_ratio(self, logps: Tensor, old_logps: Tensor) -> None:
        """Called with the first minibatch of each rollout, before anything was learnt from it."""

    def _end_minibatch(self) -> None:
        sums, self._minibatch_sums = self._minibatch_sums, 0.0
        self._update_sums = self._update_sums + sums
        if self.args.target_kl is not None:
            moved = update_figures(self._summed(sums))["policy/approxkl_avg"]
            self._left_out = moved > self.args.target_kl

    def _summed(self, sums: Tensor) -> Tensor:
        """Over all processes."""
        return sums if self.args.world_size == 1 else self.accelerator.gather(sums[None]).sum(0)

    def all_update_sums(self) -> Tensor:
        """Sums since the last log call, over all processes."""
        if not isinstance(self._update_sums, Tensor):
            return torch.zeros(len(UPDATE_FIGURES) + 2, dtype=torch.float64)
        return self._summed(self._update_sums)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Of one micro-batch forwards and backwards; those of generation are not in it."""
        return 6 * self._tokens_read * self._parameters if self._tokens_read else 0

    @functools.cached_property
    def _parameters(self) -> int:
        """Those that take part in products. Counted once: with adapters, to go through all modules at each step is felt."""
        return self.model.num_parameters(exclude_embeddings=True)


def _slot(numbers: list[int]) -> dict[str, int]:
    return {"slot": numbers[0]}
