"""Several runs side by side: what was set differently, what came out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfrecipes.publish.evaluations import TUNED, evaluation_models, evaluation_rows
from hfrecipes.publish.figures import DASH, count, dig, duration, number, scientific, setting, short, size
from hfrecipes.publish.naming import portable_value
from hfrecipes.publish.svg import COLOURS, Bar
from hfrecipes.publish.tables import Rows, hardware_name

# A run's name is set differently by design.
_NOT_COMPARED = ("name",)

# The last of the page's colours is a grey.
_MUTED = COLOURS - 1

_FIGURES: list[tuple[str, str, Callable[[Any], str]]] = [
    ("Parameters", "model.parameters.total", short),
    ("Trainable parameters", "model.parameters.trainable", short),
    ("Optimizer steps", "training.steps", count),
    ("Tokens seen", "training.tokens", count),
    ("Training FLOPs", "training.flops", scientific),
    ("Final loss", "training.final_loss", number),
    ("Wall time", "training.wall_seconds", duration),
    ("Throughput of training, tokens/s", "training.tokens_per_second", number),
    ("Peak memory", "training.peak_memory_bytes", size),
]


def figure_rows(facts: list[dict[str, Any]]) -> Rows:
    """Title and one cell per run, for figures that at least one run measured."""
    rows = [["Status", *(str(entry.get("status") or "unknown") for entry in facts)]]
    rows += [[title, *(form(dig(entry, path)) for entry in facts)] for title, path, form in _FIGURES]
    rows.append(["Hardware", *(hardware_name(entry) or DASH for entry in facts)])
    return [row for row in rows if any(cell != DASH for cell in row[1:])]


def recipe_differences(facts: list[dict[str, Any]]) -> Rows:
    """Dotted key and one cell per run, for the resolved values in which the runs differ."""
    flat = [_flatten(portable_value(entry.get("recipe") or {})) for entry in facts]
    keys = dict.fromkeys(key for values in flat for key in values)
    rows = [[key, *(setting(values.get(key)) for values in flat)] for key in keys if key not in _NOT_COMPARED]
    return [row for row in rows if len(set(row[1:])) > 1]


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts and lists as dotted keys: `data.train.0.name`."""
    if isinstance(value, dict) and value:
        entries = value.items()
    elif isinstance(value, list) and any(isinstance(entry, (dict, list)) for entry in value):
        entries = enumerate(value)
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, entry in entries:
        flat |= _flatten(entry, f"{prefix}.{key}" if prefix else str(key))
    return flat


def evaluation_groups(names: list[str], facts: list[dict[str, Any]]) -> list[tuple[str, str, list[Bar]]]:
    """Title, n and bars of every data set and metric, in the order in which the runs measured them."""
    groups: dict[tuple[str, str], tuple[str, list[str], list[Bar]]] = {}
    for index, (name, entry) in enumerate(zip(names, facts, strict=True)):
        models = evaluation_models(entry)
        for row in evaluation_rows(entry):
            title = f"{row.title} on {row.dataset}"
            _, counts, bars = groups.setdefault((row.dataset, row.metric), (title, [], []))
            counts.append(row.n)
            for model in models:
                if model in row.by_model:
                    bars.append(Bar(_bar_label(name, model, len(names)), row.by_model[model], _colour(index, model)))
    return [(title, " / ".join(dict.fromkeys(counts)), bars) for title, counts, bars in groups.values()]


def _bar_label(name: str, model: str, runs: int) -> str:
    if runs == 1:
        return model
    return name if model == TUNED else f"{name}: {model}"


def _colour(index: int, model: str) -> int:
    """A colour per run for its trained model; a muted one for all that it is set against."""
    return index % _MUTED if model == TUNED else _MUTED
