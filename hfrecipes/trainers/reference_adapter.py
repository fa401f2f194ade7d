"""The frozen copy of an incoming adapter that TRL's trainers compare with: it is not part of what is saved."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from accelerate.utils import is_peft_model

# As TRL calls it.
REFERENCE_ADAPTER = "ref"


class ReferenceLeftOut:
    """Comes before the mixin in the bases of a trainer of TRL's: plain resuming would take the copy for the policy."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if is_peft_model(model) and REFERENCE_ADAPTER in model.peft_config:
            state = model.state_dict() if state_dict is None else state_dict
            state_dict = {name: tensor for name, tensor in state.items() if f".{REFERENCE_ADAPTER}." not in name}
        with _without_reference(model):
            super()._save(output_dir, state_dict)


@contextlib.contextmanager
def _without_reference(model: Any) -> Iterator[None]:
    """Hides the adapter that is the reference from peft, which saves all that it knows."""
    known = model.peft_config if is_peft_model(model) else {}
    reference = known.pop(REFERENCE_ADAPTER, None)
    try:
        yield
    finally:
        if reference is not None:
            known[REFERENCE_ADAPTER] = reference
