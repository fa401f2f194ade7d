"""Before the first update the policy is what it is compared with, or the run stops."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import is_peft_model

from hfrecipes.recipe.stops import PoisonedRunError

# How far the policy may be from its own copy before the first update, as a share of the answer's log-probability: what is
# added up in another order differs in the last bits, of which float32 has 24, TF32 and float16 11, bfloat16 8.
_ROUNDING = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}


class SameReference:
    """Comes before the mixin in the bases of a trainer of TRL's that notes rewards, beta times log-ratios."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        first = self.state.global_step == 0 and self._micro == (1, 0)
        if self.model.training and first and self.args.disable_dropout:
            self._refuse_other_reference()
        return loss

    def _refuse_other_reference(self) -> None:
        """Looks at what was noted of the first micro-batch.

        Raises:
            PoisonedRunError: the reference is another model.
        """
        noted = self._metrics["train"]
        for side in ("chosen", "rejected"):
            # A micro-batch of labelled answers may have none of a side; asked for by its name, TRL would note an empty one.
            if f"rewards/{side}" not in noted or not self.beta:
                continue
            ratio = noted[f"rewards/{side}"][-1] / self.beta
            log_probability = noted[f"logps/{side}"][-1]
            if not abs(ratio) <= self._rounding() * max(abs(log_probability), 1.0):
                raise PoisonedRunError(
                    f"the reference is not the model that the training starts from: before the first update the {side} answers "
                    f"have a log-ratio of {ratio:.4g} (at a log-probability of {log_probability:.4g}), where it has to be 0. "
                    "To mend: take an adapter that begins without effect (method: lora with init_lora_weights: true), or "
                    "adapter: null for full fine-tuning"
                )

    def _rounding(self) -> float:
        dtypes = {parameter.dtype for parameter in self.model.parameters() if parameter.is_floating_point()}
        dtypes |= {torch.bfloat16} if self.args.bf16 or self._is_quantized() else set()
        dtypes |= {torch.float16} if self.args.fp16 or self.args.tf32 else set()
        rounding = max(_ROUNDING.get(dtype, 0.0) for dtype in dtypes)
        # An adapter that has taken a part of the base gives it back with rounding.
        return 10 * rounding if self.ref_model is not None and is_peft_model(self.model) else rounding

    def _is_quantized(self) -> bool:
        return any(getattr(self.model, f"is_loaded_in_{bits}bit", False) for bits in (4, 8))
