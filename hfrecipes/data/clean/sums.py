"""From the counts of single tasks to those of a pass, and of a whole cleaning."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hfrecipes.data.clean.judging import Held
from hfrecipes.data.clean.metrics import CorpusMetrics
from hfrecipes.data.clean.tally import Amount, RuleTally

# Amounts of a source before something and after it.
Amounts = dict[int, tuple[Amount, Amount]]
# What a rule did to a source, by their positions.
Tallies = dict[tuple[int, int], RuleTally]


def sum_up(results: Iterable[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """The sums of a pass.

    Args:
        results: Source and manifest of each task, in their order.

    Returns:
        `documents` that are left; by source the `amounts` that were read and kept; by rule and source the `tallies`.
    """
    amounts: Amounts = {}
    tallies: Tallies = {}
    for source, manifest in results:
        read, kept = amounts.setdefault(source, (Amount(), Amount()))
        read.add(Amount(**manifest["read"]))
        kept.add(Amount(**manifest["kept"]))
        for position, tally in manifest["tallies"].items():
            tallies.setdefault((int(position), source), RuleTally()).merge(RuleTally.from_dict(tally))
    return {
        "documents": sum(kept.documents for _, kept in amounts.values()),
        "amounts": [[source, asdict(read), asdict(kept)] for source, (read, kept) in amounts.items()],
        "tallies": [[*key, tally.to_dict()] for key, tally in tallies.items()],
    }


def tallies_of(passes: Sequence[dict[str, Any]]) -> Tallies:
    """What each rule did to each source, from the sums of all passes."""
    said = [entry for sums in passes for entry in sums["tallies"]]
    return {(position, source): RuleTally.from_dict(tally) for position, source, tally in said}


def amounts_of(passes: Sequence[dict[str, Any]]) -> Amounts:
    """What each source held before all rules and after them, from the sums of all passes."""
    first, last = passes[0]["amounts"], passes[-1]["amounts"]
    return {
        source: (Amount(**read), Amount(**kept)) for (source, read, _), (_, _, kept) in zip(first, last, strict=True)
    }


def write_metrics(path: Path, held: Sequence[Held], source: int) -> None:
    """Keeps the figures of the documents of one part."""
    metrics = CorpusMetrics()
    metrics.add((one.document.text for one in held), source=str(source))
    path.write_bytes(pickle.dumps(metrics))


def merge_metrics(paths: Iterable[Path]) -> dict[str, Any]:
    """The figures of all parts together."""
    total = CorpusMetrics()
    for path in paths:
        total.merge(pickle.loads(path.read_bytes()))
    return total.facts()
