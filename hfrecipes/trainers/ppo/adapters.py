"""Several adapters on one base: which of them runs, and which are trained, are two questions."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import load_peft_weights

from hfrecipes.recipe.problem import Problem, RecipeError

VALUE, REFERENCE, REWARD = "value", "reference", "reward"
# Ways to begin an adapter that leave the weights under it as they were.
_HARMLESS_STARTS = (True, False, "gaussian", "eva", "orthogonal")


@contextlib.contextmanager
def running(model: PeftModel, name: str | None) -> Iterator[None]:
    """Runs another adapter, or none, and leaves what is trained as it is.

    PEFT trains what runs: switching alone would freeze the policy.

    Args:
        model: With the adapters.
        name: The one to run; None for the base alone.
    """
    trained = [(weight, weight.requires_grad) for weight in model.parameters()]
    before = model.active_adapter
    try:
        with model.disable_adapter() if name is None else contextlib.nullcontext():
            if name is not None:
                model.set_adapter(name)
            _restore(trained)
            yield
    finally:
        model.set_adapter(before)
        _restore(trained)


def _restore(trained: list[tuple[torch.nn.Parameter, bool]]) -> None:
    for weight, trains in trained:
        if weight.requires_grad != trains:
            weight.requires_grad_(trains)


def add_value_adapter(model: PeftModel) -> None:
    """A second adapter like the policy's, fresh and trained."""
    add_adapter(model, VALUE, _plain(model.peft_config[model.active_adapter]), trained=True)


def add_reference_copy(model: PeftModel) -> None:
    """A frozen copy of the policy's adapter as it is now."""
    name = model.active_adapter
    add_adapter(model, REFERENCE, model.peft_config[name], trained=False)
    set_peft_model_state_dict(model, get_peft_model_state_dict(model, adapter_name=name), adapter_name=REFERENCE)


def add_adapter(model: PeftModel, name: str, config: PeftConfig, trained: bool) -> None:
    """Adds one beside the others; what runs stays.

    Raises:
        RecipeError: there is one of this name.
    """
    if name in model.peft_config:
        raise RecipeError(Problem("model", f"has an adapter named {name!r} already", "rename or delete it"))
    before = model.active_adapter
    flags = [(weight, weight.requires_grad) for weight in model.parameters()]
    config = copy.deepcopy(config)
    # A start by decomposition would rewrite the weights under the other adapters.
    if getattr(config, "init_lora_weights", True) not in _HARMLESS_STARTS:
        config.init_lora_weights = True
    model.add_adapter(name, config)
    model.set_adapter(before)
    _restore(flags)
    known = {id(weight) for weight, _ in flags}
    for weight in model.parameters():
        if id(weight) not in known:
            weight.requires_grad_(trained)


def load_reward_adapter(model: PeftModel, folder: Path, name: str) -> torch.Tensor:
    """Puts the adapter of a reward model onto the policy's base.

    Args:
        model: The policy with its adapter.
        folder: Of a sequence classifier with one output, saved with PEFT.
        name: What it is called here.

    Returns:
        The weight of its head, `(width,)`.

    Raises:
        RecipeError: it is no such adapter, or does not fit the base.
    """
    config = PeftConfig.from_pretrained(folder)
    weights = load_peft_weights(str(folder), device="cpu")
    heads = [key for key in weights if key.rsplit(".", 2)[-2] in ("score", "classifier") and weights[key].dim() == 2]
    if len(heads) != 1 or weights[heads[0]].shape[0] != 1:
        fix = "give the adapter of a reward model, trained as a sequence classifier with one label"
        raise RecipeError(Problem(str(folder), "holds no head with one score", fix))
    add_adapter(model, name, _plain(config), trained=False)
    # One trainer saves `base_model.model.model.…`, whatever the head on top is.
    rest = {key: value for key, value in weights.items() if ".score." not in key and ".classifier." not in key}
    result = set_peft_model_state_dict(model, rest, adapter_name=name)
    if result.unexpected_keys:
        fault = f"does not fit the policy's base: {sorted(result.unexpected_keys)[:2]} are not in it"
        raise RecipeError(Problem(str(folder), fault, "take the adapter of a reward model on the same base"))
    return weights[heads[0]][0].float()


def _plain(config: PeftConfig) -> PeftConfig:
    """The same without layers that are trained whole, which belong to the policy or to a head."""
    config = copy.deepcopy(config)
    config.task_type, config.inference_mode = "CAUSAL_LM", False
    if hasattr(config, "modules_to_save"):
        config.modules_to_save = None
    return config


def refuse_unfit_base(model: PeftModel, where: str) -> None:
    """Raises where the base without its adapter is not what the training began with.

    Raises:
        RecipeError: the adapter's start rewrote it, or its biases are trained with the adapter.
    """
    config = model.peft_config[model.active_adapter]
    start, bias = getattr(config, "init_lora_weights", True), getattr(config, "bias", "none")
    fix = "give ref_model, or a PeftModel (its adapter as it is now is the reference then)"
    if start not in _HARMLESS_STARTS:
        fault = f"init_lora_weights {start!r} rewrites the weights under the adapter, so they are no reference"
        raise RecipeError(Problem(where, fault, f"{fix}, or leave init_lora_weights out"))
    if bias not in ("none", None):
        fault = f"bias {bias!r} trains weights that stay when the adapter is off, so they are no reference"
        raise RecipeError(Problem(where, fault, f"{fix}, or leave bias out"))


def is_prompt_learning(model: PeftModel) -> bool:
    return any(config.is_prompt_learning for config in model.peft_config.values())
