"""What the trainings of a cross-validation say together, as rows of text and as a card of its own."""

from __future__ import annotations

from typing import Any

from hfrecipes.publish.citation import citation
from hfrecipes.publish.escaping import code_span
from hfrecipes.publish.evaluations import TUNED, EvaluationRow
from hfrecipes.publish.figures import DASH, decimals, dig, is_number, number
from hfrecipes.publish.header import license_of, render_header
from hfrecipes.publish.limitations import limitations_of_folds
from hfrecipes.publish.origin import name_of, recipe_text
from hfrecipes.publish.tables import Rows, data_name
from hfrecipes.publish.templates import render_template
from hfrecipes.recipe.rundir import RunDir

_KIND = "folds"
# Columns before the figures: data set, metric, model.
_WORDS = 3


def is_folds(facts: dict[str, Any]) -> bool:
    """Whether facts are those of a folder with one training for each fold."""
    return facts.get("kind") == _KIND


def fold_runs(folder: RunDir, facts: dict[str, Any]) -> list[RunDir]:
    """The run directories of the trainings that are finished, in the order of the folds."""
    return [RunDir(folder.path / name) for name in _run_names(facts)]


def _run_names(facts: dict[str, Any]) -> list[str]:
    names = [step.get("run") for step in facts.get("steps") or []]
    # Anything but the name of a folder in this one would lead out of it.
    return [name for name in names if name and "/" not in name and not name.startswith(".")]


def fold_table(facts: dict[str, Any]) -> Rows:
    """Heading and rows: data set, metric, model, mean and standard deviation over folds, and each fold's own figure.

    Empty where nothing was measured, or the trainings are not finished.
    """
    measured = [entry for entry in facts.get("folds") or [] if is_number(entry.get("mean"))]
    if not measured:
        return []
    count = max(len(entry.get("values") or []) for entry in measured)
    heading = ["Data set", "Metric", "Model", "Mean", "Standard deviation"]
    return [heading + [f"Fold {fold}" for fold in range(1, count + 1)], *(_row(entry, count) for entry in measured)]


def figure_columns(table: Rows) -> tuple[int, ...]:
    """Places of the columns of figures in what `fold_table` gives."""
    return tuple(range(_WORDS, len(table[0]))) if table else ()


def _row(entry: dict[str, Any], count: int) -> list[str]:
    title = EvaluationRow(
        str(entry.get("dataset") or DASH),
        str(entry.get("metric") or DASH),
        str(entry.get("unit") or ""),
        bool(entry.get("higher_is_better")),
        {},
    ).title
    digits, spread = decimals(float(entry["mean"])), entry.get("spread")
    values = [number(value, digits) for value in entry.get("values") or []]
    return [
        str(entry.get("dataset") or DASH),
        title,
        str(entry.get("model") or TUNED),
        number(entry["mean"], digits),
        # Folds that agree to all the digits of their mean did not agree in full.
        number(spread, digits if is_number(spread) and round(spread, digits) else None),
        *values,
        *[DASH] * (count - len(values)),
    ]


def render_folds_card(facts: dict[str, Any]) -> str:
    """The README.md of a folder with one training for each fold: their figures, and how they were made."""
    figures = fold_table(facts)
    return render_template(
        "folds_card.md.jinja",
        header=render_header(facts),
        name=name_of(facts),
        # Of a cross-validation that was cut off, not all folds were trained.
        count=dig(facts, "recipe.data.splits.folds") or len(facts.get("steps") or []),
        sources=[code_span(name) for name in _sources(facts)],
        runs=[code_span(name) for name in _run_names(facts)],
        figures=figures,
        figure_columns=figure_columns(figures),
        limitations=limitations_of_folds(),
        license=license_of(facts),
        recipe=recipe_text(facts),
        citation=citation(facts, name_of(facts), None, None),
    )


def _sources(facts: dict[str, Any]) -> list[str]:
    specs = dig(facts, "recipe.data.train") or []
    return list(dict.fromkeys(data_name({"name": spec.get("name") or spec.get("path")}) for spec in specs))
