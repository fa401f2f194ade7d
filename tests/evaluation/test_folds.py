from __future__ import annotations

import statistics
from typing import Any

import pytest

from hfrecipes.evaluation.folds import fold_figures


def entry(value: float, metric: str = "token_loss", model: str = "tuned") -> dict[str, Any]:
    shared = {"dataset": "rows.jsonl/validation", "metric": metric, "unit": "nats", "higher_is_better": False}
    return {"model": model, **shared, "value": value, "low": value - 1, "high": value + 1, "n": 10}


def test_mean_and_spread_are_those_of_the_folds() -> None:
    values = [2.0, 2.5, 4.0, 1.25]
    figures = fold_figures([[entry(value)] for value in values])
    assert len(figures) == 1
    assert figures[0]["mean"] == pytest.approx(statistics.mean(values))
    assert figures[0]["spread"] == pytest.approx(statistics.stdev(values))
    assert (figures[0]["low"], figures[0]["high"], figures[0]["values"]) == (1.25, 4.0, values)


def test_a_figure_that_one_fold_lacks_is_left_out_and_models_stay_apart() -> None:
    folds = [[entry(1.0), entry(5.0, model="base"), entry(3.0, "chrf")], [entry(2.0), entry(7.0, model="base")]]
    assert [(each["model"], each["metric"], each["mean"]) for each in fold_figures(folds)] == [
        ("tuned", "token_loss", 1.5),
        ("base", "token_loss", 6.0),
    ]


def test_one_fold_has_no_spread_and_none_has_no_figures() -> None:
    assert fold_figures([[entry(1.0)]])[0]["spread"] is None
    assert fold_figures([]) == []
