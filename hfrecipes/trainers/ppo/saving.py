"""What is saved of a PPO training beside the policy, and brought back."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.trainers.ppo.adapters import REFERENCE, VALUE
from hfrecipes.trainers.ppo.policy import VALUE_PREFIX, base_of

# Beside the policy's weights. Not in folders of PEFT's form: the stock Trainer would take these for adapters to load.
VALUE_FILE, REFERENCE_FILE = "value.safetensors", "reference.safetensors"
_ADAPTER = "adapter."


class PPOSaving:
    """Comes before a Trainer class in the bases.

    Features:
        * the policy is saved plain, as if there were no values: a model, or its adapter alone;
        * all that makes values lies beside it in `value.safetensors`, a reference adapter in `reference.safetensors`;
        * both are loaded with a checkpoint, and one that lacks them is refused.
    """

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        policy, folder = self.policy, Path(output_dir or self.args.output_dir)
        whole = policy.state_dict() if state_dict is None else state_dict
        values = {name.split(VALUE_PREFIX, 1)[1]: weight for name, weight in whole.items() if VALUE_PREFIX in name}
        with _alone(policy):
            super()._save(output_dir, whole)
        if not self.args.should_save:
            return
        if isinstance(policy, PeftModel):
            values |= {_ADAPTER + name: weight for name, weight in _adapter(policy, VALUE, whole).items()}
            if reference := _adapter(policy, REFERENCE, whole):
                _write(folder / REFERENCE_FILE, reference)
        _write(folder / VALUE_FILE, values)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with _flags_kept(self.policy):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._load_beside(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        with _flags_kept(self.policy):
            super()._load_best_model()
        self._load_beside(Path(self.state.best_model_checkpoint))

    def _load_beside(self, folder: Path) -> None:
        """What makes values, and the reference; where the state is kept in parts, they are among those."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return
        policy = self.policy
        values = _read(folder / VALUE_FILE)
        adapter = {name.removeprefix(_ADAPTER): values.pop(name) for name in list(values) if name.startswith(_ADAPTER)}
        wanted = set(base_of(policy).ppo_value.state_dict())
        if set(values) != wanted or bool(adapter) != (self.args.value == "adapter"):
            fault = f"its values are made otherwise than value: {self.args.value} says"
            raise RecipeError(Problem(str(folder), fault, "go on with the words that the run began with"))
        base_of(policy).ppo_value.load_state_dict(values)
        if adapter:
            set_peft_model_state_dict(policy, adapter, adapter_name=VALUE)
        if isinstance(policy, PeftModel) and REFERENCE in policy.peft_config:
            set_peft_model_state_dict(policy, _read(folder / REFERENCE_FILE), adapter_name=REFERENCE)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        missing = [name for name in load_result.missing_keys if VALUE_PREFIX not in name]
        super()._issue_warnings_after_load(
            SimpleNamespace(missing_keys=missing, unexpected_keys=load_result.unexpected_keys)
        )


def _adapter(policy: PeftModel, name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    if name not in policy.peft_config:
        return {}
    return get_peft_model_state_dict(policy, state_dict=state, adapter_name=name, save_embedding_layers=False)


def _write(file: Path, weights: dict[str, Tensor]) -> None:
    save_file({name: weight.detach().cpu().contiguous() for name, weight in weights.items()}, file, {"format": "pt"})


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        fix = "take a checkpoint of a PPO training, or begin anew"
        raise RecipeError(Problem(str(file.parent), f"lacks {file.name}", fix))
    return load_file(file)


@contextmanager
def _alone(policy: Any) -> Iterator[None]:
    """Saves the adapter that is trained, not those of values, reference and rewards beside it."""
    if not isinstance(policy, PeftModel):
        yield
        return
    policy.save_pretrained = functools.partial(policy.save_pretrained, selected_adapters=[policy.active_adapter])
    try:
        yield
    finally:
        del policy.save_pretrained


@contextmanager
def _flags_kept(policy: torch.nn.Module) -> Iterator[None]:
    """Loading an adapter trains it and freezes the others."""
    flags = [(weight, weight.requires_grad) for weight in policy.parameters()]
    yield
    for weight, trained in flags:
        weight.requires_grad_(trained)
