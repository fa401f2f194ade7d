"""What card and report say of a model that was trained with multi-token prediction."""

from __future__ import annotations

from typing import Any

from hfrecipes.objectives.settings import MTPSettings
from hfrecipes.publish.figures import count, dig, is_number

_FIRST = "loss_head_1"
# Of all heads together, each by its weight: a curriculum that adds heads makes it grow.
_SUMS = ("training.first_loss", "training.final_loss")


def has_heads(facts: dict[str, Any]) -> bool:
    """Whether a run trained heads for several tokens."""
    return dig(facts, "recipe.objective.name") == "mtp"


def heads_phrase(facts: dict[str, Any]) -> str:
    """That a model has heads for several tokens, to stand behind how it was trained; empty for others."""
    if not has_heads(facts):
        return ""
    heads = dig(facts, "recipe.objective.num_future_tokens") or MTPSettings().num_future_tokens
    return f" with heads for {count(heads)} tokens at once (multi-token prediction)"


def figure_title(facts: dict[str, Any], path: str, title: str) -> str:
    """The title of a figure of the training, which says so where it sums the losses of several heads.

    Args:
        facts: The contents of run.json.
        path: Of the figure into them.
        title: As it is without heads.
    """
    return f"{title}, all heads" if path in _SUMS and has_heads(facts) else title


def loss_sentence(metrics: list[dict[str, Any]]) -> str:
    """First and last logged training loss with their steps; empty without a log.

    Args:
        metrics: The lines of metrics.jsonl. Where they have the loss of head 1, it is the one that is told: the loss of all
            heads rises as a curriculum adds them.
    """
    logged = [entry for entry in metrics if is_number(entry.get("loss")) and is_number(entry.get("step"))]
    by_head = [entry for entry in logged if is_number(entry.get(_FIRST))]
    if len(by_head) > 1:
        moved = f"The logged training loss of head 1 {_moved(by_head, _FIRST)}"
        return f"{moved}; the weighted sum over the heads that took part by then {_moved(logged, 'loss')}."
    return f"The logged training loss {_moved(logged, 'loss')}." if len(logged) > 1 else ""


def _moved(logged: list[dict[str, Any]], key: str) -> str:
    first, last = logged[0], logged[-1]
    return f"went from {first[key]:.4g} (step {count(first['step'])}) to {last[key]:.4g} (step {count(last['step'])})"
