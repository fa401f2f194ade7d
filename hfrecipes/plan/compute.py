"""The operations of a whole run, and the hours that they take on a device."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hfrecipes.objectives.settings import mtp_settings
from hfrecipes.plan import flops
from hfrecipes.plan.devices import DEFAULT_UTILISATION, measured_flops, recognise
from hfrecipes.plan.parameters import ParameterCount
from hfrecipes.plan.policy import policy_flops, rollout_plan
from hfrecipes.plan.run_length import PAIR
from hfrecipes.plan.shape import ModelShape
from hfrecipes.recipe.hardware import Hardware
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.resolve import split_batch
from hfrecipes.recipe.source_list import COMPARING


@dataclass(frozen=True, slots=True)
class Compute:
    """Operations and time of the whole run.

    Args:
        model_flops: What the mathematics asks for.
        hardware_flops: That, and what activation checkpointing computes again.
        peak_flops: Of one device, per second; None where it is not known.
        peak_source: A data sheet, or the measurement that gave it.
        utilisation: Share of the peak that is assumed.
        hours: Wall clock on all devices; None where the peak is not known.
    """

    model_flops: float
    hardware_flops: float
    peak_flops: float | None
    peak_source: str | None
    utilisation: float
    hours: float | None


def compute_of(
    recipe: Recipe,
    counts: ParameterCount,
    shape: ModelShape,
    tokens: float,
    mean_row: float | None,
    hardware: Hardware,
    world_size: int,
) -> Compute:
    """What the training of a recipe computes.

    Args:
        recipe: The recipe, resolved.
        counts: The model's parameters.
        shape: Its widths and depths.
        tokens: Tokens that are read in training.
        mean_row: Tokens of a row; attention's share follows from it.
        hardware: The device that each process has.
        world_size: Processes.
    """
    heads = mtp_settings(recipe)
    # Heads for further tokens are layers like the last one.
    windows = [*shape.windows, *shape.windows[-1:] * (heads.num_future_tokens - 1 if heads else 0)]
    comparing = recipe.kind in COMPARING
    sequence = max((mean_row or 1.0) / (PAIR if comparing else 1), 1.0)
    attention = flops.attention_flops(windows, shape.num_heads * shape.head_dim, sequence)
    # A reward is one number, for which no output matrix is needed.
    without = counts.unembedding if recipe.kind == "reward" else 0
    per_token = flops.token_flops(
        counts.matmul - without,
        min(counts.trainable_matmul, counts.matmul - without),
        attention,
        checkpointing=recipe.get("training.gradient_checkpointing", False),
        unembedding=counts.unembedding - without,
    )
    if recipe.kind in ("dpo", "kto"):
        # The reference reads each answer, too; for KTO both read a mismatched one besides.
        mismatched = recipe.kind == "kto" and recipe.get("training.loss_type", "kto") == "kto"
        per_token = replace(per_token, forward=(4 if mismatched else 2) * per_token.forward)
    if rollouts := rollout_plan(recipe, split_batch(recipe, hardware, world_size)):
        per_token = policy_flops(recipe, per_token, rollouts)
    return on_devices(per_token.model * tokens, per_token.hardware * tokens, hardware, world_size)


def on_devices(model_flops: float, hardware_flops: float, hardware: Hardware, world_size: int) -> Compute:
    """How long so many operations take.

    Args:
        model_flops: What the mathematics asks for.
        hardware_flops: That, and what is computed again.
        hardware: The device.
        world_size: Processes, one device each.
    """
    device = recognise(hardware)
    peak, source = (device.peak_flops, device.source) if device else (None, None)
    if hardware.device == "cpu":
        peak, source = measured_flops(), "a matrix product measured on this machine"
    hours = None if peak is None else flops.device_hours(model_flops, peak, DEFAULT_UTILISATION) / world_size
    return Compute(model_flops, hardware_flops, peak, source, DEFAULT_UTILISATION, hours)
