"""The mixture of a recipe in the plan: how many steps it takes, and what is seen of each source, how often."""

from __future__ import annotations

from typing import Any

import numpy as np

from hfrecipes.data.mixture.schedule import MixtureSchedule, schedule_mixture
from hfrecipes.data.mixture.settings import mixture_settings
from hfrecipes.plan.counts import DataCounts
from hfrecipes.recipe.loader import Recipe

# TrainingArguments' own default.
DEFAULT_EPOCHS = 3.0
# Shares that differ by less are shown as one.
_SAME_SHARE = 0.005
# Places of a run at which a plan keeps the shares, for plots.
_SHOWN = 65


def plan_schedule(
    recipe: Recipe, data: DataCounts, global_batch_size: int, parameters: int | None
) -> MixtureSchedule | None:
    """The schedule of a recipe's mixture; None where it has none, or where its sources could not be counted.

    Args:
        recipe: A resolved recipe.
        data: With the sizes of its sources.
        global_batch_size: Rows of one optimizer step.
        parameters: Of the model; None where they could not be counted.

    Raises:
        RecipeError: what keeps the rows from being planned.
    """
    settings = mixture_settings(recipe)
    if settings is None or not data.sizes or (settings.tokens_per_parameter and parameters is None):
        return None
    max_steps = recipe.get("training.max_steps", -1)
    return schedule_mixture(
        settings,
        data.sizes,
        global_batch_size,
        steps=max_steps if max_steps > 0 else None,
        epochs=float(recipe.get("training.num_train_epochs", DEFAULT_EPOCHS)),
        parameters=parameters,
        where=recipe.where("data.mixture"),
    )


def unseen_steps(recipe: Recipe, global_batch_size: int, parameters: int | None) -> int | None:
    """Optimizer steps of a mixture whose sources could not be counted: as it says, or by tokens where all rows are full."""
    max_steps = recipe.get("training.max_steps", -1)
    settings = mixture_settings(recipe)
    asked = settings and settings.asked_tokens(parameters)
    if max_steps > 0 or asked is None or recipe.kind != "pretrain":
        return max_steps if max_steps > 0 else None
    return max(round(asked / recipe.get("data.context_length") / global_batch_size), 1)


def mixture_facts(schedule: MixtureSchedule) -> dict[str, Any]:
    """The `mixture` entry of a plan, as plain values.

    Returns:
        `progress` and, by source, `shares` of tokens there; and for each source its rows, the tokens that are trained on, their
        share, the epochs, and how many tokens are seen a second time or more.
    """
    shares, tokens = schedule.token_shares(), schedule.trained_tokens.tolist()
    places = np.unique(np.linspace(0, len(shares) - 1, min(_SHOWN, len(shares))).round().astype(int))
    repeated, epochs = schedule.repeated_tokens(), schedule.epochs()
    sources = {
        name: {
            "rows": size.rows,
            "tokens": size.tokens,
            "trained_tokens": round(trained),
            "share": trained / sum(tokens),
            "epochs": epochs[name],
            "repeated_tokens": repeated[name],
        }
        for name, size, trained in zip(schedule.names, schedule.sizes, tokens, strict=True)
    }
    return {
        "samples": schedule.plan.total,
        "tokens": schedule.tokens,
        "block": schedule.plan.block,
        "progress": [float((place + 0.5) / len(shares)) for place in places],
        "shares": {name: [float(share) for share in shares[places, n]] for n, name in enumerate(schedule.names)},
        "sources": sources,
    }


def mixture_words(schedule: MixtureSchedule) -> str:
    """The share of the tokens of each source: the first, where it turns around, and the last."""
    shares = schedule.token_shares()
    words = []
    for number, name in enumerate(schedule.names):
        turns = " → ".join(f"{share:.1%}" for share in turning_points(shares[:, number]))
        words.append(f"{name} {turns}")
    return f"{', '.join(words)} of the tokens"


def turning_points(shares: np.ndarray) -> list[float]:
    """The first and the last of a row of shares, and between them the ones at which it turns around."""
    kept = [float(shares[0])]
    for share in map(float, shares[1:]):
        if len(kept) > 1 and (share - kept[-1]) * (kept[-1] - kept[-2]) >= 0:
            kept[-1] = share
        elif abs(share - kept[-1]) >= _SAME_SHARE:
            kept.append(share)
    return kept
