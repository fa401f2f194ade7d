"""Whether a run learnt its training rows by heart: losses of training and held-out sets side by side, from its log."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.curves import Log, curve, loss_curves
from hfrecipes.publish.figures import DASH, count, dig, number
from hfrecipes.publish.tables import Rows

# Places of the columns of figures.
OVERFITTING_FIGURES = (1, 2, 3, 4, 5, 6)
_HEADING = [
    "Set",
    "Lowest loss",
    "at step",
    "Last loss",
    "Above the lowest",
    "Training loss then",
    "Held-out above training",
]
# Of these, the log's training loss is the mean over the same kind of rows that is taken on held-out sets.
_COMPARABLE = ("pretrain", "sft", "reward", "dpo", "kto")


def overfitting_table(metrics: Log, facts: dict[str, Any]) -> Rows:
    """Heading, and a row for each set that was evaluated during training; empty where none was.

    The training loss is the mean of what was logged since the evaluation before, so it is that of slightly earlier weights, and
    with dropout where there is any. Where it is a sum over heads of multi-token prediction, it is left out.

    Args:
        metrics: The lines of a run's log.
        facts: Of the run.
    """
    train = curve(metrics, "loss") if _is_comparable(facts) else []
    rows = [[name or "eval", *_figures(points, train)] for name, points in loss_curves(metrics).items()]
    return [_HEADING, *rows] if rows else []


def _is_comparable(facts: dict[str, Any]) -> bool:
    return facts.get("kind") in _COMPARABLE and dig(facts, "recipe.objective.name") != "mtp"


def _figures(points: list[tuple[float, float]], train: list[tuple[float, float]]) -> list[str]:
    best_step, best = min(points, key=lambda point: point[1])
    step, last = points[-1]
    before = points[-2][0] if len(points) > 1 else 0
    logged = [value for at, value in train if before < at <= step]
    figures = [number(best), count(int(best_step)), number(last), number(last - best)]
    if not logged:
        return [*figures, DASH, DASH]
    mean = sum(logged) / len(logged)
    return [*figures, number(mean), number(last - mean)]
