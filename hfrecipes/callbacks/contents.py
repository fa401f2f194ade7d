"""Whether the JSON files of a checkpoint hold what a training writes there. Imports no torch.

Hashes say that a file is as its manifest says; whoever writes both can write anything. What is found here is passed over
with a reason, instead of failing somewhere in the middle of a resume.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfrecipes.recipe.manifest import read_manifest

TRAINER_STATE, ACCUMULATORS = "trainer_state.json", "accumulators.json"
_NUMBER = (int, float)
# Of transformers' TrainerState. What may be absent or null is not looked at then.
_STATE: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("global_step", "max_steps", "num_input_tokens_seen", "train_batch_size", "best_global_step"), int),
    **dict.fromkeys(("epoch", "num_train_epochs", "logging_steps", "eval_steps", "save_steps"), _NUMBER),
    **dict.fromkeys(("total_flos", "best_metric"), _NUMBER),
    **dict.fromkeys(("best_model_checkpoint", "trial_name"), str),
    **dict.fromkeys(("stateful_callbacks", "trial_params"), dict),
    "log_history": list,
}


def content_faults(folder: Path, step: int) -> list[str]:
    """What a training that goes on would stumble over; empty where there is nothing.

    Args:
        folder: A checkpoint whose files are as its manifest says.
        step: The one in its name.
    """
    looks = ((TRAINER_STATE, _state_fault), (ACCUMULATORS, _sums_fault))
    for name, look in looks:
        try:
            fault = look(json.loads((folder / name).read_text(encoding="utf-8")), step)
        except (OSError, ValueError, RecursionError):
            return [f"{name} cannot be read"]
        if fault:
            return [fault]
    manifest = read_manifest(folder) or {}
    if not _is(manifest.get("fingerprint", {}), dict) or not _is(manifest.get("world_size", 1), int):
        return ["its manifest is damaged"]
    return []


def _state_fault(state: Any, step: int) -> str | None:
    if not isinstance(state, dict) or not _is(state.get("global_step"), int):
        return f"{TRAINER_STATE} cannot be read"
    if state["global_step"] != step:
        return f"its state is that of step {state['global_step']}"
    if found := next(_state_faults(state), None):
        return f"{TRAINER_STATE} holds no training's {found}"
    last = state.get("max_steps") or step
    return f"its state is that of step {step} of {last}" if step > last else None


def _state_faults(state: dict[str, Any]) -> Iterator[str]:
    from transformers import TrainerState

    yield from sorted(state.keys() - {field.name for field in dataclasses.fields(TrainerState)})
    for key, shape in _STATE.items():
        if state.get(key) is not None and not _is(state[key], shape):
            yield key
    if not all(map(_is_log, state.get("log_history") or [])):
        yield "log_history"
    if not all(map(_is_kept, (state.get("stateful_callbacks") or {}).values())):
        yield "stateful_callbacks"


def _is_log(entry: Any) -> bool:
    return isinstance(entry, dict) and _is(entry.get("step"), int) and _is(entry.get("loss", 0), _NUMBER)


def _is_kept(state: Any) -> bool:
    """Of one callback, or of several of one class."""
    states = state if isinstance(state, list) else [state]
    return all(isinstance(each, dict) and isinstance(each.get("attributes", {}), dict) for each in states)


def _sums_fault(sums: Any, step: int) -> str | None:
    fits = isinstance(sums, dict) and (
        _are_numbers(sums.get("loss"))
        and len(sums["loss"]) > 0
        and _is(sums.get("total_loss"), _NUMBER)
        and _is(sums.get("last_logged"), int)
        and isinstance(metrics := sums.get("metrics", {}), dict)
        and all(map(_are_numbers, metrics.values()))
        and _is(sums.get("tokens", 0), _NUMBER)
    )
    return None if fits else f"{ACCUMULATORS} holds no training's sums"


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(_is(value, _NUMBER) for value in values)


def _is(value: Any, shape: type | tuple[type, ...]) -> bool:
    return isinstance(value, shape) and not isinstance(value, bool)
