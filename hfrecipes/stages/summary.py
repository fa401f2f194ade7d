"""What a person wants to see when a run is over: the figures, and where to look further."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hfrecipes.recipe.rundir import RunDir

# Perplexity and loss say the same as bits per byte; one of them is enough here.
LEFT_OUT = ("perplexity", "token_loss")


def print_summary(folder: Path) -> None:
    """A table of the evaluations of a run, or of each step of a pipeline, and the paths to open."""
    console = Console()
    run = RunDir(folder)
    facts = run.facts()
    runs = [RunDir(folder / step["run"]) for step in facts["steps"]] if facts["kind"] == "pipeline" else [run]
    table = Table("run", "data", "metric", "model", "value", "95 % interval", "n", box=None, header_style="bold")
    for each in runs:
        for row in _rows(each.facts()):
            table.add_row(*row)
    if table.row_count:
        console.print(table)
    for each in runs:
        console.print(
            f"{each.path}: model {each.model.name}/, card {each.card.name}, report {each.report.name}", highlight=False
        )


def _rows(facts: dict[str, Any]) -> list[list[str]]:
    entries = [entry for entry in facts.get("evaluations", []) if entry["metric"] not in LEFT_OUT]
    return [
        [
            facts["name"],
            entry["dataset"],
            entry["metric"].replace("_", " ") + (" ↑" if entry["higher_is_better"] else " ↓"),
            entry["model"],
            f"{entry['value']:.3f}",
            f"{entry['low']:.3f} … {entry['high']:.3f}",
            str(entry["n"]),
        ]
        for entry in entries
    ]
