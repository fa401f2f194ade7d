"""What a person wants to see when a run is over: the figures, and where to look further."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hfrecipes.publish.answers import counts_sentence, is_answers
from hfrecipes.recipe.rundir import RunDir
from hfrecipes.recipe.secrets import redact
from hfrecipes.recipe.visible import visible
from hfrecipes.stages.occupied import OF_STEPS

# Perplexity and loss say the same as bits per byte; one of them is enough here.
LEFT_OUT = ("perplexity", "token_loss")


def print_summary(folder: Path) -> None:
    """A table of the evaluations of a run, or of each step of a pipeline, and the paths to open."""
    # Names are the user's, square brackets and colons included.
    console = Console(markup=False, emoji=False)
    run = RunDir(folder)
    facts = run.facts()
    runs = [RunDir(folder / step["run"]) for step in facts["steps"]] if facts["kind"] in OF_STEPS else [run]
    if "folds" in facts:
        _print_folds(console, facts["folds"])
        console.print(_shown(f"{run.path}: {len(runs)} folds, report {run.report.name}"), highlight=False)
        return
    table = Table("", "model", "value", "95 % interval", "n", box=None, header_style="bold")
    for each in runs:
        facts = each.facts()
        rows = [*_rows(facts), *_continued_rows(facts)]
        for data in dict.fromkeys(row[0] for row in rows):
            # The names of data sets are long, so they stand in lines of their own.
            table.add_row(Text(_shown(f"{facts['name']}: {data}" if len(runs) > 1 else data), "bold"))
            for metric, *others in (row[1:] for row in rows if row[0] == data):
                table.add_row(Padding(_shown(metric), (0, 0, 0, 2)), *map(_shown, others))
    if table.row_count:
        console.print(table)
    for each in runs:
        if is_answers(facts := each.facts()):
            files = f"{each.pairs.name}, {each.rankings.name}, card {each.card.name}"
            console.print(_shown(f"{each.path}: {counts_sentence(facts)} {files}"), highlight=False)
            continue
        places = f"model {each.model.name}/, card {each.card.name}, report {each.report.name}"
        console.print(_shown(f"{each.path}: {places}"), highlight=False)


def _print_folds(console: Console, figures: list[dict[str, Any]]) -> None:
    """Mean and standard deviation over the folds, and each fold's own figure."""
    table = Table("data", "metric", "model", "mean ± sd", "by fold", box=None, header_style="bold")
    for each in (figure for figure in figures if figure["metric"] not in LEFT_OUT):
        spread = "" if each["spread"] is None else f" ± {each['spread']:.3f}"
        values = "  ".join(f"{value:.3f}" for value in each["values"])
        table.add_row(_shown(each["dataset"]), _metric(each), each["model"], f"{each['mean']:.3f}{spread}", values)
    if table.row_count:
        console.print(table)


def _continued_rows(facts: dict[str, Any]) -> list[list[str]]:
    """What was gained on the new domain and forgotten of the old one, where a recipe tells them apart."""
    titles = {"gain": ("new", "gain, bits per byte ↑"), "forgetting": ("old", "forgetting, bits per byte ↓")}
    found = facts.get("continued", {})
    return [
        [
            f"the {domain} domain",
            title,
            "tuned − base",
            f"{found[name]['value']:+.3f}",
            f"{found[name]['low']:+.3f} … {found[name]['high']:+.3f}",
            str(found[name]["n"]),
        ]
        for name, (domain, title) in titles.items()
        if name in found
    ]


def _shown(text: str) -> str:
    """Paths are the user's, and may hold what no terminal is to be shown."""
    return visible(redact(text))


def _metric(entry: dict[str, Any]) -> str:
    return entry["metric"].replace("_", " ") + (" ↑" if entry["higher_is_better"] else " ↓")


def _rows(facts: dict[str, Any]) -> list[list[str]]:
    """Data set, metric, model and figures; of one metric the models stand one below the other."""
    entries = [entry for entry in facts.get("evaluations", []) if entry["metric"] not in LEFT_OUT]
    metrics = list(dict.fromkeys(entry["metric"] for entry in entries))
    entries.sort(key=lambda entry: metrics.index(entry["metric"]))
    return [
        [
            entry["dataset"],
            _metric(entry),
            entry["model"],
            f"{entry['value']:.3f}",
            "" if entry["low"] is None else f"{entry['low']:.3f} … {entry['high']:.3f}",
            str(entry["n"]),
        ]
        for entry in entries
    ]
