"""A sign that a preference training is not well: the chosen answers become much less likely than they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# Nats that an answer has lost, and the share of its log-probability, from which on it is said. That both answers become less
# likely is usual in DPO; it hurts where the probability goes to what nobody asked for (Pal et al. 2024, arXiv:2402.13228;
# Razin et al. 2024, arXiv:2410.08847).
_NATS, _SHARE = 5.0, 0.25


class LikelihoodCallback(TrainerCallback):
    """Warns once when the chosen answers have lost a lot of their probability.

    Args:
        beta: Of the training: TRL logs `rewards/chosen`, beta times the log-ratio of policy and reference.
        warn: Called with the warning.
    """

    def __init__(self, beta: float, warn: Callable[[str], None]) -> None:
        self.beta = beta
        self.warn = warn
        self.warned = False

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        logs = logs or {}
        if self.warned or "rewards/chosen" not in logs or "logps/chosen" not in logs or not self.beta:
            return
        lost = -logs["rewards/chosen"] / self.beta
        before = abs(logs["logps/chosen"] + lost)
        if lost > max(_NATS, _SHARE * before):
            self.warned = True
            what = f"at step {state.global_step} the chosen answers are e^{lost:.3g} times less likely than they were at first"
            mend = "lower training.learning_rate, raise training.beta, or add the sft loss: loss_type: [sigmoid, sft]"
            self.warn(f"{what} (log-probability {logs['logps/chosen']:.4g}, {-before:.4g} then): {mend}")
