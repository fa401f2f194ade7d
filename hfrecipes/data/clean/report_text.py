"""A cleaning report for people: a table on the terminal, or Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

# Reasons and counts that a cell of a table names; the JSON has all.
_NAMED = 4
# Columns of a terminal from which on all figures have room.
_WIDE = 120
_MASKED = (
    "Personal data in these texts is masked. They are shown as they came to the rule, as the rules before it left them."
)
# Figures under `metrics` that are shown, and what they are.
_METRICS = {
    "duplication.documents": "documents that are repeats",
    "duplication.lines": "lines that are repeats",
    "spelling.known_words": "words known to a dictionary",
    "form.both": "sentences with a proper beginning and end",
    "density.compression_ratio": "size once compressed, of the size before",
    "density.type_token_ratio": "different words in a window of words",
    "density.stop_words": "stop words",
    "diversity.effective_sources": "effective number of sources",
}


def print_report(console: Console, report: Mapping[str, Any]) -> None:
    """Prints the tables of a report: by rule, by source, and the quality of the text before and after."""
    from rich.markup import escape
    from rich.table import Table

    for title, header, rows in _tables(report, console.width >= _WIDE):
        table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
        for position, name in enumerate(header):
            justify = "right" if position and name not in _WORDY else "left"
            table.add_column(name, justify=justify, overflow="fold", no_wrap=position == 0)
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)
    for warning in report["warnings"]:
        console.print(f"[bold yellow]![/] {escape(warning)}", highlight=False, soft_wrap=True)
    console.print(escape(summary(report)), highlight=False, soft_wrap=True)


def summary(report: Mapping[str, Any]) -> str:
    """One sentence: what is left."""
    documents = report["documents"]
    measured = "tokens" if "tokens" in report else "characters"
    left = f"{documents['after']:,} of {documents['before']:,} documents are left ({_share(documents['kept'])})"
    return f"{left}, and {_share(report[measured]['kept'])} of the {measured}."


def left_out_by_rule(report: Mapping[str, Any]) -> dict[str, int]:
    """Documents that each rule left out; those of a rule that is applied several times are added up."""
    counts: dict[str, int] = {}
    for rule in report["rules"]:
        documents = rule["documents"]
        counts[rule["rule"]] = counts.get(rule["rule"], 0) + documents["before"] - documents["after"]
    return counts


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report as a page of Markdown, with examples of what each rule left out."""
    lines = ["# What cleaning did", "", summary(report), ""]
    for title, header, rows in _tables(report):
        ruler = ["---:" if position and name not in _WORDY else "---" for position, name in enumerate(header)]
        lines += [f"## {title}", ""]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in (header, ruler, *rows)] + [""]
    lines += [f"- {warning}" for warning in report["warnings"]] + [""] * bool(report["warnings"])
    shown = [rule for rule in report["rules"] if rule["examples"]]
    if shown:
        lines += ["## Examples of what was left out", "", _MASKED, ""]
    for rule in shown:
        lines += [f"### {rule['rule']}", ""]
        for one in rule["examples"]:
            detail = f" ({one['detail']})" if one["detail"] else ""
            text = " ".join(one["text"].split()).replace("`", "'")
            lines += [f"- {one['where']}: {one['reason']}{detail}", "", f"  `{text}`" if text else "  (no text)", ""]
    return "\n".join(lines).rstrip() + "\n"


_WORDY = ("left out because of", "changed", "left out because of, or changed", "source", "left out by")


def _tables(report: Mapping[str, Any], wide: bool = True) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, header and rows of each table; narrow ones count documents only, and have all words in one column."""
    measured = "tokens" if "tokens" in report else "characters"
    text = [f"{measured} in", "out", "kept"] if wide else []
    figures = ["documents in" if wide else "in", "out", "kept", *text]

    def row(name: str, entry: Mapping[str, Any], *words: str) -> list[str]:
        told = words if wide else ["\n".join(filter(None, words))]
        return [name, *_figures(entry["documents"]), *(_figures(entry[measured]) if wide else []), *told]

    rules = [row(rule["rule"], rule, _listed(rule["reasons"]), _changes(rule)) for rule in report["rules"]]
    whole = row("all", report, "", "")
    words = ["left out because of", "changed"] if wide else ["left out because of, or changed"]
    tables = [("By rule", ["rule", *figures, *words], [*rules, whole])]
    if len(report["sources"]) > 1:
        sources = [row(one["name"], one, _listed(one["left_out"])) for one in report["sources"]]
        tables.append(("By source", ["source", *figures, "left out by"], sources))
    if quality := _quality(report["metrics"]):
        tables.append(("Quality", ["measure", "before", "after"], quality))
    return tables


def _figures(amount: Mapping[str, Any]) -> list[str]:
    return [f"{amount['before']:,}", f"{amount['after']:,}", _share(amount["kept"])]


def _changes(rule: Mapping[str, Any]) -> str:
    told = [f"{rule['changed']:,} documents"] if rule["changed"] else []
    return ": ".join([*told, *([_listed(rule["counts"])] if rule["counts"] else [])])


def _listed(counts: Mapping[str, int]) -> str:
    named = [f"{name} {count:,}" for name, count in list(counts.items())[:_NAMED]]
    rest = sum(list(counts.values())[_NAMED:])
    return ", ".join([*named, *([f"others {rest:,}"] if rest else [])])


def _quality(metrics: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for key, words in _METRICS.items():
        values = [_at(metrics[when], key) for when in ("before", "after")]
        if any(value is not None for value in values):
            rows.append([words, *("-" if value is None else f"{value:.3f}" for value in values)])
    return rows


def _at(values: Any, key: str) -> float | None:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
