"""The evaluations of a run as one table: a row per data set and metric, a column per model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hfrecipes.publish.figures import DASH, decimals, is_number, number
from hfrecipes.publish.terms import metric_title

TUNED = "tuned"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measured value with its 95 % interval, where one was made."""

    value: float
    low: float | None
    high: float | None
    n: int | None

    @property
    def has_interval(self) -> bool:
        return self.low is not None and self.high is not None

    @property
    def text(self) -> str:
        """`1.234 [1.200, 1.268]`, all with the digits of the value."""
        digits = decimals(self.value) if isinstance(self.value, float) else 0
        if self.has_interval and isinstance(self.value, int):
            digits = decimals(float(self.value))
        shown = number(self.value, digits)
        return f"{shown} [{number(self.low, digits)}, {number(self.high, digits)}]" if self.has_interval else shown


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """What every model scored in one metric on one data set."""

    dataset: str
    metric: str
    unit: str
    higher_is_better: bool
    by_model: dict[str, Measurement]

    @property
    def title(self) -> str:
        name = metric_title(self.metric)
        says_unit = not self.unit or self.unit.replace("/", " per ") in name
        return f"{name}{'' if says_unit else f', {self.unit}'} {'↑' if self.higher_is_better else '↓'}"

    @property
    def n(self) -> str:
        counts = list(dict.fromkeys(m.n for m in self.by_model.values() if m.n is not None))
        return " / ".join(f"{count:,}" for count in counts) or DASH

    def cell(self, model: str) -> str:
        return self.by_model[model].text if model in self.by_model else DASH

    @property
    def baselines(self) -> dict[str, Measurement]:
        return {model: measured for model, measured in self.by_model.items() if model != TUNED}

    @property
    def is_clear_win(self) -> bool:
        """Whether the tuned model's whole interval lies on the better side of every baseline's whole interval."""
        tuned = self.by_model.get(TUNED)
        if tuned is None or not self.baselines:
            return False
        return all(self._beats(tuned, base) for base in self.baselines.values())

    @property
    def is_clear_loss(self) -> bool:
        """Whether some baseline's whole interval lies on the better side of the tuned model's."""
        return bool(self.better)

    @property
    def better(self) -> list[str]:
        """The baselines whose whole interval lies on the better side of the tuned model's."""
        tuned = self.by_model.get(TUNED)
        return [] if tuned is None else [name for name, base in self.baselines.items() if self._beats(base, tuned)]

    def _beats(self, one: Measurement, other: Measurement) -> bool:
        if not (one.has_interval and other.has_interval):
            return False
        return one.low > other.high if self.higher_is_better else one.high < other.low


def evaluation_models(facts: dict[str, Any]) -> list[str]:
    """The models that were measured, the tuned one last."""
    models = dict.fromkeys(str(entry["model"]) for entry in _measured(facts))
    return [model for model in models if model != TUNED] + [model for model in models if model == TUNED]


def evaluation_rows(facts: dict[str, Any]) -> list[EvaluationRow]:
    """Rows in the order of measurement; of several measurements of one thing the latest step counts."""
    rows: dict[tuple[str, str], EvaluationRow] = {}
    for entry in sorted(_measured(facts), key=lambda entry: entry.get("step") or 0):
        key = (str(entry["dataset"]), str(entry["metric"]))
        if key not in rows:
            rows[key] = EvaluationRow(*key, str(entry.get("unit") or ""), bool(entry.get("higher_is_better")), {})
        low, high = entry.get("low"), entry.get("high")
        bounded = is_number(low) and is_number(high)
        n = entry.get("n") if is_number(entry.get("n")) else None
        measured = Measurement(entry["value"], low if bounded else None, high if bounded else None, n)
        rows[key].by_model[str(entry["model"])] = measured
    order = list(dict.fromkeys((str(entry["dataset"]), str(entry["metric"])) for entry in _measured(facts)))
    return [rows[key] for key in order]


def _measured(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries that hold a number; a metric that could not be computed is not a result."""
    entries = facts.get("evaluations") or []
    return [
        entry for entry in entries if {"model", "dataset", "metric"} <= entry.keys() and is_number(entry.get("value"))
    ]
