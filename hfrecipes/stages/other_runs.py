"""Other runs on the same held-out data, and how far this one is from them: over rows, and over seeds where there are several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hfrecipes.evaluation.intervals import Estimate
from hfrecipes.evaluation.language_modeling import RowLosses
from hfrecipes.evaluation.seeds import RowDifference, difference_over_rows, difference_over_seeds
from hfrecipes.recipe.loader import Recipe
from hfrecipes.stages.measured_runs import BY_TOKEN, Entries, Key, MeasuredRun, read_run, this_run

_BITS = "bits_per_byte"
_COMPARED = "evaluation.compare_runs"
# A run's rows are those of its figure where they give it to these many digits.
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class OtherRuns:
    """What other runs have to say.

    Args:
        evaluations: Their figures, one column for each run that the recipe lists by itself.
        comparisons: Entries of `comparisons`: this recipe's runs against each group of others, figure by figure.
        warnings: On runs that measured none of the same rows.
    """

    evaluations: Entries
    comparisons: Entries
    warnings: list[str]


def compare_with_others(
    recipe: Recipe, evaluations: Entries, data: Entries, losses: Mapping[str, RowLosses]
) -> OtherRuns:
    """Figures of the runs in `evaluation.compare_runs` beside this run's own, and the differences.

    Args:
        recipe: Names the other runs: a list, each by itself, or groups of runs by name.
        evaluations: This run's own entries of `evaluations`.
        data: Its entries of `data`.
        losses: What each held-out row cost the trained model, by data set; empty where it is not known.

    Raises:
        RecipeError: a folder holds no run, or one whose facts are damaged.
    """
    own = this_run(recipe, evaluations, data, losses)
    found = OtherRuns([], [], [])
    ours = [
        own,
        *_useful(own, [read_run(recipe, place) for place in recipe.get("evaluation.other_seeds") or []], found),
    ]
    said = recipe.get(_COMPARED) or []
    if isinstance(said, list):
        taken = {entry["model"] for entry in evaluations}
        for run in _useful(own, [read_run(recipe, place) for place in said], found):
            label = run.name if run.name not in taken else run.place
            taken.add(label)
            shared = [entry for key, entry in run.figures.items() if own.measured_what(run, key)]
            found.evaluations.extend({**entry, "model": label} for entry in shared)
            found.comparisons.extend(_comparisons(label, ours, [run]))
    else:
        for label, places in said.items():
            runs = _useful(own, [read_run(recipe, place) for place in places], found)
            found.comparisons.extend(_comparisons(label, ours, runs))
    return found


def _useful(own: MeasuredRun, runs: list[MeasuredRun], found: OtherRuns) -> list[MeasuredRun]:
    """Those that measured something of what this run did."""
    useful = [run for run in runs if any(own.measured_what(run, key) for key in own.figures)]
    found.warnings.extend(
        f"{run.place} has no figure to compare: it measured nothing on the same held-out rows"
        for run in runs
        if run not in useful
    )
    return useful


def _comparisons(label: str, ours: list[MeasuredRun], theirs: list[MeasuredRun]) -> Entries:
    own = ours[0]
    entries = []
    for key in own.figures:
        sides = [[run for run in side if own.measured_what(run, key)] for side in (ours, theirs)]
        # Perplexity and loss per token say once more what bits per byte say.
        if all(sides) and key[1] not in BY_TOKEN:
            entries.append(_comparison(label, key, *sides))
    return entries


def _comparison(label: str, key: Key, ours: list[MeasuredRun], theirs: list[MeasuredRun]) -> dict[str, Any]:
    paired = _are_pairs(ours, theirs)
    if paired:
        ours, theirs = (sorted(side, key=lambda run: run.seed) for side in (ours, theirs))
    values, others = ([run.figures[key]["value"] for run in side] for side in (ours, theirs))
    rows = _over_rows(key, ours, theirs)
    figure = ours[0].figures[key]
    return {
        "against": label,
        "dataset": key[0],
        "metric": key[1],
        "unit": figure.get("unit", ""),
        "higher_is_better": bool(figure.get("higher_is_better")),
        "ours": {"values": values, "seeds": [run.seed for run in ours]},
        "theirs": {"values": others, "seeds": [run.seed for run in theirs]},
        "paired": paired,
        "difference": math.fsum(values) / len(values) - math.fsum(others) / len(others),
        "over_seeds": _interval(difference_over_seeds(values, others, paired=paired, rows=rows)),
        "over_rows": _interval(rows.estimate if rows else None),
    }


def _are_pairs(ours: list[MeasuredRun], theirs: list[MeasuredRun]) -> bool:
    """Whether each run has a counterpart of the same seed: runs that read their rows in the same order."""
    seeds = [sorted(run.seed for run in side) for side in (ours, theirs)]
    return seeds[0] == seeds[1] and len(set(seeds[0])) == len(seeds[0])


def _interval(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else {"low": estimate.low, "high": estimate.high, "n": estimate.n}


def _over_rows(key: Key, ours: list[MeasuredRun], theirs: list[MeasuredRun]) -> RowDifference | None:
    """The difference over rows; None where these are not known of all, or are not the same tokens."""
    if key[1] != _BITS:
        return None
    runs = [*ours, *theirs]
    known = [_rows_of(run, key) for run in runs]
    if any(rows is None for rows in known) or not _are_alike(known):
        return None
    counted = known[0].num_tokens > 0
    bits = np.stack([rows.nll[counted] for rows in known]) / math.log(2)
    return difference_over_rows(bits[: len(ours)], bits[len(ours) :], known[0].num_bytes[counted])


def _rows_of(run: MeasuredRun, key: Key) -> RowLosses | None:
    """A run's rows, where its figure is theirs: of text that was measured otherwise it is not."""
    rows = run.losses.get(key[0])
    if rows is None or not rows.num_bytes[rows.num_tokens > 0].sum():
        return None
    counted = rows.num_tokens > 0
    figure = rows.nll[counted].sum() / math.log(2) / rows.num_bytes[counted].sum()
    return rows if math.isclose(figure, run.figures[key]["value"], rel_tol=_SAME) else None


def _are_alike(known: Sequence[RowLosses]) -> bool:
    first = known[0]
    return all(
        np.array_equal(rows.num_tokens, first.num_tokens) and np.array_equal(rows.num_bytes, first.num_bytes)
        for rows in known[1:]
    )
