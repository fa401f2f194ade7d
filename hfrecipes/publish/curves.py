"""What the report draws over time, read out of the log of a run."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from hfrecipes.publish.figures import dig, is_number
from hfrecipes.publish.svg import Point

Log = list[dict[str, Any]]

_BITS = re.compile(r"eval_(?:(.*)_)?bits_per_byte")
_LOSS = re.compile(r"eval_(?:(.*)_)?loss")

# Counters of tokens seen so far, as TRL and transformers log them.
_TOKEN_COUNTERS = ("num_tokens", "num_input_tokens_seen")


def curve(metrics: Log, key: str) -> list[Point]:
    """(step, value) of every line that has the key as a finite number."""
    return [(line["step"], line[key]) for line in metrics if is_number(line.get("step")) and is_number(line.get(key))]


def eval_curves(metrics: Log, pattern: re.Pattern[str]) -> dict[str, list[Point]]:
    """Curves by the name of the evaluation set; the name is empty where there is only one, unnamed."""
    keys = dict.fromkeys(key for line in metrics for key in line if pattern.fullmatch(key))
    curves = {(pattern.fullmatch(key).group(1) or ""): curve(metrics, key) for key in keys}
    return {name: points for name, points in curves.items() if points}


def loss_curves(metrics: Log) -> dict[str, list[Point]]:
    return eval_curves(metrics, _LOSS)


def bits_curves(metrics: Log) -> dict[str, list[Point]]:
    return eval_curves(metrics, _BITS)


def throughput(metrics: Log, facts: dict[str, Any]) -> tuple[list[Point], str]:
    """Speed between neighbouring lines of the training log, and its unit.

    In tokens per second by a logged counter of tokens or, where there is none, by the run's mean of tokens per step; in
    steps per second where tokens were not counted. Stretches with an evaluation in them are left out: their time is not
    the training's.
    """
    for key in _TOKEN_COUNTERS:
        if len(curve(metrics, key)) > 2:
            return _rates(metrics, lambda line, key=key: line.get(key)), "tokens/s"
    tokens, steps = dig(facts, "training.tokens"), dig(facts, "training.steps")
    if is_number(tokens) and is_number(steps) and steps > 0:
        return _rates(metrics, lambda line: line["step"] * tokens / steps), "tokens/s"
    return _rates(metrics, lambda line: line["step"]), "steps/s"


def _rates(metrics: Log, counter: Callable[[dict[str, Any]], Any]) -> list[Point]:
    points, before = [], None
    for line in metrics:
        if not (is_number(line.get("step")) and is_number(line.get("time"))):
            continue
        if any(key.startswith("eval_") for key in line):
            before = None
            continue
        if "loss" not in line:
            continue
        now = (line["time"], counter(line))
        if before and is_number(now[1]) and now[0] > before[0] and now[1] > before[1]:
            points.append((line["step"], (now[1] - before[1]) / (now[0] - before[0])))
        before = now if is_number(now[1]) else None
    return points
