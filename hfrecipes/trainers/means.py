"""The means that TRL's trainers keep between two log calls, so that a resumed training logs what an uncut one would."""

from __future__ import annotations

from typing import Any


class MeansOfTRL:
    """Comes before the mixin in the bases of a trainer of TRL's."""

    def accumulators(self) -> dict[str, Any]:
        """Also TRL's means since the last log call and its count of tokens, which are the same on every process."""
        means = {name: list(values) for name, values in self._metrics["train"].items()}
        return {**super().accumulators(), "metrics": means, "tokens": self._total_train_tokens}

    def restore_accumulators(self, saved: dict[str, Any]) -> None:
        super().restore_accumulators(saved)
        for name, values in saved["metrics"].items():
            self._metrics["train"][name] = values
        self._total_train_tokens = saved["tokens"]


class NamedHeldOut:
    """Comes before `MeansOfTRL`: figures of held-out rows are called after their data set, which TRL does for the loss alone."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if not self.model.training:
            noted, prefix = self._metrics["eval"], held_out_prefix(logs).removeprefix("eval_")
            for key in list(noted):
                noted[prefix + key] = noted.pop(key)
        super().log(logs, start_time)


def held_out_prefix(logs: dict[str, float]) -> str:
    """What stands before the names of figures of the data set that was measured, as in `eval_` or `eval_python_code/test_`."""
    loss = next((key for key in logs if key.startswith("eval_") and key.endswith("_loss")), "eval_loss")
    return loss.removesuffix("loss")
