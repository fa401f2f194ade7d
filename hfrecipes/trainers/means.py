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
