"""The loss on held-out rows during training: over all of them once, however they are divided."""

from __future__ import annotations

from typing import Any

import torch


class HeldOutLoss:
    """Comes before the mixin in the bases.

    The stock loop takes a mean of the means of batches, in which a short row counts as much as a long one, and fills the last
    batch of several processes up with rows that were read before. Here each batch counts by what its loss is a mean over, and
    what fills it up is left out: the loss is the same for any batch size and any number of processes.
    """

    def held_out_weight(self, inputs: dict[str, Any]) -> int:
        """What the loss of a batch is a mean over: its targets."""
        return int((inputs["labels"][:, 1:] != -100).sum())

    def evaluation_loop(self, dataloader: Any, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        self._held_out_rows, self._held_out_batches = dataloader.dataset, 0
        self._held_out_sums = torch.zeros(2, dtype=torch.float64, device=self._sum_device)
        output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        loss, weight = self.accelerator.gather(self._held_out_sums[None]).sum(0).tolist()
        if weight:
            output.metrics[f"{metric_key_prefix}_loss"] = loss / weight
        return output

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        inputs, real = self._without_repeated(inputs)
        self._predicting = True
        try:
            found = super().prediction_step(model, inputs, *args, **kwargs)
        finally:
            self._predicting = False
        weight = self.held_out_weight(inputs) if real else 0
        if weight:
            loss = found[0].detach().to(self._sum_device, torch.float64)
            self._held_out_sums += torch.stack([loss * weight, torch.full_like(loss, weight)])
        return found

    _predicting = False

    def _get_num_items_in_batch(self, *args: Any, **kwargs: Any) -> Any:
        # With the targets of all processes, repeated rows included, the loss would be none of this batch's own.
        return None if self._predicting else super()._get_num_items_in_batch(*args, **kwargs)

    @property
    def _sum_device(self) -> torch.device:
        # Apple's GPUs have no float64.
        return torch.device("cpu") if self.args.device.type == "mps" else self.args.device

    def _without_repeated(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """A batch without the rows that stand in it to give every process as many; with one of them where it has no other.

        Batches go around the processes in order, and a pass through the model is needed on all of them alike.

        Returns:
            The batch, and how many of its rows are read for the first time.
        """
        size, world_size = self.args.eval_batch_size, self.args.world_size
        if world_size == 1 or not hasattr(self._held_out_rows, "__len__"):
            return inputs, size
        begin = (self._held_out_batches * world_size + self.args.process_index) * size
        self._held_out_batches += 1
        real = max(min(len(self._held_out_rows) - begin, size), 0)
        if real == size:
            return inputs, real
        kept = range(begin, begin + real) if real else range(1)
        return self.data_collator([self._held_out_rows[row] for row in kept]), real
