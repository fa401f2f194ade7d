"""How good a reward model is, beyond its accuracy, for the card and the report."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.escaping import code_span
from hfrecipes.publish.figures import DASH, count, dig, is_number, number
from hfrecipes.publish.svg import Series
from hfrecipes.publish.tables import Rows

MARGIN_FIGURES = (2, 3, 4)


def is_reward(facts: dict[str, Any]) -> bool:
    return facts.get("kind") == "reward"


def margin_table(facts: dict[str, Any]) -> Rows:
    """Heading and a row for each bin of margins of each data set; empty where nothing was measured."""
    rows = []
    for name, quality in _quality(facts).items():
        by = "by the data" if quality.get("margin_of") == "data" else "by the rewards"
        for part in quality.get("by_margin") or []:
            span = f"{number(part.get('low'))} to {number(part.get('high'))}, {by}"
            rows.append([name, span, _estimate(part.get("accuracy")), _share(part.get("confidence")), _n(part)])
    return [["Data set", "Answers apart", "Right", "Sure", "Pairs"], *rows] if rows else []


def reward_sentences(facts: dict[str, Any]) -> list[str]:
    """What calibration and length say of each data set, and how rewards are brought to mean 0 and variance 1."""
    lines = []
    for name, quality in _quality(facts).items():
        error, length = dig(quality, "calibration.ece"), quality.get("length") or {}
        parts = [f"expected calibration error {number(error)}"] if is_number(error) else []
        if isinstance(length.get("correlation"), dict):
            parts.append(f"correlation of reward and length {_estimate(length['correlation'])}")
        if isinstance(length.get("longer_preferred"), dict) and isinstance(length.get("longer_chosen"), dict):
            shares = [_estimate(length[word]) for word in ("longer_preferred", "longer_chosen")]
            parts.append(f"the longer answer is preferred by the model in {shares[0]}, by the data in {shares[1]}")
        if parts:
            lines.append(f"{code_span(name)}: {'; '.join(parts)}.")
    mean, std = (dig(facts, f"reward.normalisation.{word}") for word in ("mean", "std"))
    if is_number(mean) and is_number(std):
        where = "`reward_config.json`" if dig(facts, "model.adapter") else "`config.json`"
        lines.append(
            f"Rewards had the mean {number(mean)} and the standard deviation {number(std)}; both are in {where}."
        )
    return lines


def calibration_series(facts: dict[str, Any]) -> list[Series]:
    """Accuracy by confidence of each data set, with the line on which both are the same."""
    series = []
    for place, (name, quality) in enumerate(_quality(facts).items(), start=1):
        bins = dig(quality, "calibration.bins") or []
        points = [
            (part["confidence"], dig(part, "accuracy.value")) for part in bins if is_number(part.get("confidence"))
        ]
        series.append(Series(name, [point for point in points if is_number(point[1])], place))
    ends = [x for one in series for x, _ in one.points]
    if not ends:
        return []
    return [Series("as sure as right", [(min(ends), min(ends)), (max(ends), max(ends))], 0, dashed=True), *series]


def _quality(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = dig(facts, "reward.quality")
    return (
        {str(name): each for name, each in found.items() if isinstance(each, dict)} if isinstance(found, dict) else {}
    )


def _estimate(estimate: Any) -> str:
    if not isinstance(estimate, dict) or not is_number(estimate.get("value")):
        return DASH
    bounds = [estimate.get("low"), estimate.get("high")]
    shown = f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if all(map(is_number, bounds)) else ""
    return f"{estimate['value']:.3f}{shown}"


def _share(value: Any) -> str:
    return f"{value:.3f}" if is_number(value) else DASH


def _n(part: dict[str, Any]) -> str:
    n = dig(part, "accuracy.n")
    return count(n) if is_number(n) else DASH
