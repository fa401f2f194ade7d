"""The tables that the card and the report share, as rows of text made of the facts of a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfrecipes.publish.figures import (
    DASH,
    count,
    dig,
    duration,
    is_number,
    number,
    scientific,
    setting,
    share,
    short,
    size,
)
from hfrecipes.publish.heads import figure_title
from hfrecipes.publish.naming import is_hub_id, portable, portable_value, run_name_of

# A row is a list of cells.
Rows = list[list[str]]

DATA_COLUMNS = ["Role", "Data set", "Split", "Rows", "Tokens", "Supervised", "Cut", "Licence", "Revision"]
KINDS_COLUMNS = ["Data set", "Kind", "Rows", "Tokens", "Supervised", "Share"]
PLAN_COLUMNS = ["", "Planned", "Actual", "Actual / planned"]

_REVISION_DIGITS = 12
# What is counted by kind, as run.json calls it.
_COUNTED = ("rows", "tokens", "supervised_tokens")


def data_rows(facts: dict[str, Any]) -> Rows:
    """One row per data entry, in `DATA_COLUMNS`."""
    return [_data_row(entry) for entry in facts.get("data") or []]


def _data_row(entry: dict[str, Any]) -> list[str]:
    return [
        str(entry.get("role") or DASH),
        data_name(entry),
        str(entry.get("split") or DASH),
        count(entry.get("rows")),
        count(entry.get("tokens")),
        count(entry.get("supervised_tokens")),
        _cut(entry),
        str(entry.get("license") or "not stated"),
        _revision(entry.get("revision")),
    ]


def training_data(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """The data entries that the model learned from."""
    return [entry for entry in facts.get("data") or [] if entry.get("role") == "train"]


def training_licenses(facts: dict[str, Any]) -> list[tuple[str | None, list[str]]]:
    """Each licence of the training data with the names of the data under it; last, under None, where none is stated."""
    found: dict[str | None, dict[str, None]] = {}
    for entry in training_data(facts):
        found.setdefault(entry.get("license") or None, {})[data_name(entry)] = None
    return [(license, list(found[license])) for license in sorted(found, key=lambda one: (one is None, one or ""))]


def kinds_rows(facts: dict[str, Any]) -> Rows:
    """One row per data set and kind of its rows, in `KINDS_COLUMNS`; for data whose rows are tagged."""
    return [row for entry in facts.get("data") or [] if entry.get("kinds") for row in _kinds(entry)]


def _kinds(entry: dict[str, Any]) -> Rows:
    title = "/".join(filter(None, (data_name(entry), entry.get("split"))))
    kinds = {kind: [counts.get(name) or 0 for name in _COUNTED] for kind, counts in entry["kinds"].items() if counts}
    wholes = [entry.get(name) or 0 for name in _COUNTED]
    rest = [max(0, whole - sum(part)) for whole, *part in zip(wholes, *kinds.values(), strict=True)]
    untagged = [("not tagged", rest)] if any(rest) else []
    whole = sum(rest[-1:]) + sum(counts[-1] for counts in kinds.values())
    ordered = [*sorted(kinds.items(), key=lambda pair: -pair[1][-1]), *untagged]
    return [
        [title, kind, *map(count, counts), share(counts[-1] / whole) if whole else DASH] for kind, counts in ordered
    ]


def data_name(entry: dict[str, Any]) -> str:
    """A data set's name; a path is known by its last component."""
    name = str(entry.get("name") or "unnamed")
    return name if is_hub_id(name) else portable_value(name)


def is_hub_dataset(entry: dict[str, Any]) -> bool:
    """Whether a data entry was read from the Hub: an `owner/name` that is not known by a hash of its content."""
    name, revision = entry.get("name"), str(entry.get("revision") or "")
    return isinstance(name, str) and "/" in name and is_hub_id(name) and not revision.startswith("sha256:")


def _cut(entry: dict[str, Any]) -> str:
    rows, tokens = entry.get("truncated_rows"), entry.get("truncated_tokens")
    if not is_number(rows):
        return DASH
    if rows == 0:
        return "none"
    return f"{count(rows)} rows" + (f", {count(tokens)} tokens" if is_number(tokens) else "")


def _revision(revision: Any) -> str:
    """A hash cut to a length that still tells versions apart, with the kind of hash before it."""
    if not revision:
        return DASH
    kind, _, digits = str(revision).rpartition(":")
    return f"{kind}:{digits[:_REVISION_DIGITS]}" if kind else digits[:_REVISION_DIGITS]


def hyperparameter_rows(facts: dict[str, Any]) -> Rows:
    """Name and value of every setting under `training`, `objective`, `adapter`, `quantization` in the resolved recipe."""
    recipe = facts.get("recipe") or {}
    rows = [[key, setting(portable_value(value))] for key, value in _stated(recipe.get("training"))]
    for section in ("objective", "adapter", "quantization"):
        rows += [[f"{section}.{key}", setting(portable_value(value))] for key, value in _stated(recipe.get(section))]
    known = {name for name, _ in rows}
    sizes = ("global_batch_size", "micro_batch_size", "accumulation_steps")
    measured = [(key, dig(facts, f"training.{key}")) for key in sizes]
    return rows + [[key, setting(value)] for key, value in measured if is_number(value) and key not in known]


def _stated(section: Any) -> list[tuple[str, Any]]:
    entries = section.items() if isinstance(section, dict) else ()
    return [(key, value) for key, value in entries if value is not None]


# Title, path into the facts, and how to write it.
_COMPUTE: list[tuple[str, str, Callable[[Any], str]]] = [
    ("Optimizer steps", "training.steps", count),
    ("Epochs", "training.epochs", number),
    ("Rows seen", "training.rows", count),
    ("Tokens seen", "training.tokens", count),
    ("Tokens that carried loss", "training.supervised_tokens", count),
    ("Training FLOPs", "training.flops", scientific),
    ("Wall time", "training.wall_seconds", duration),
    ("CPU time", "training.cpu_seconds", duration),
    ("of which evaluation", "training.evaluation_seconds", duration),
    ("Throughput of training, tokens/s", "training.tokens_per_second", number),
    ("Peak memory", "training.peak_memory_bytes", size),
    ("First logged loss", "training.first_loss", number),
    ("Final loss", "training.final_loss", number),
    ("Step of the model that was kept", "training.best_step", count),
]


def compute_rows(facts: dict[str, Any]) -> Rows:
    """What the training took, one measured quantity a row; what was not measured has no row."""
    rows = [["Hardware", hardware_name(facts)]] if hardware_name(facts) else []
    world_size = dig(facts, "hardware.world_size")
    if is_number(world_size):
        rows.append(["Processes", count(world_size)])
    measured = [(path, title, form) for title, path, form in _COMPUTE if is_number(dig(facts, path))]
    return rows + [[figure_title(facts, path, title), form(dig(facts, path))] for path, title, form in measured]


def hardware_name(facts: dict[str, Any]) -> str:
    """`2 x NVIDIA H200 (139.8 GiB each)`; empty where the run did not write it down."""
    hardware = facts.get("hardware") or {}
    name = hardware.get("name") or hardware.get("device")
    if not name:
        return ""
    devices = hardware.get("count")
    many = is_number(devices) and devices > 1
    text = f"{devices} x {name}" if many else str(name)
    details = []
    if hardware.get("device") == "cpu" and is_number(hardware.get("cpu_count")):
        details.append(f"{hardware['cpu_count']} CPU cores")
    if is_number(hardware.get("memory_bytes")) and hardware["memory_bytes"] > 0:
        details.append(size(hardware["memory_bytes"]) + (" each" if many else ""))
    return f"{text} ({', '.join(details)})" if details else text


_PLANNED: list[tuple[str, str, str, Callable[[Any], str]]] = [
    ("Parameters", "parameters.total", "model.parameters.total", count),
    ("Trainable parameters", "parameters.trainable", "model.parameters.trainable", count),
    ("Optimizer steps", "steps", "training.steps", count),
    ("Tokens", "tokens", "training.tokens", count),
    ("FLOPs", "flops", "training.flops", scientific),
    ("Peak memory", "memory_bytes", "training.peak_memory_bytes", size),
]


def plan_rows(facts: dict[str, Any]) -> Rows:
    """What the plan said before the launch against what was measured, in `PLAN_COLUMNS`."""
    rows = []
    for title, planned_at, actual_at, form in _PLANNED:
        planned, actual = dig(facts, f"plan.{planned_at}"), dig(facts, actual_at)
        if is_number(planned) and is_number(actual):
            rows.append([title, form(planned), form(actual), f"{actual / planned:.3f}" if planned else DASH])
    return rows


def version_rows(facts: dict[str, Any]) -> Rows:
    """Package and version, ours first."""
    ours = [["hfrecipes", str(facts["hfrecipes"])]] if facts.get("hfrecipes") else []
    versions = facts.get("versions") or {}
    return ours + [[name, str(version)] for name, version in versions.items() if version and name != "hfrecipes"]


def base_name(facts: dict[str, Any]) -> str | None:
    """What the weights started from: a Hub id, the name of an earlier run, or None for random weights."""
    base = dig(facts, "model.base")
    if not base:
        return None
    return base if is_hub_id(base) else run_name_of(str(base))


def adapter_base_name(facts: dict[str, Any]) -> str | None:
    """What an adapter stands on: of one that was trained further, not the adapter that it started from."""
    base = dig(facts, "model.adapter_base")
    return base_name({"model": {"base": base}}) if base else base_name(facts)


def parameters_text(facts: dict[str, Any]) -> str:
    """`1.23M-parameter`, or nothing where they were not counted."""
    total = dig(facts, "model.parameters.total")
    return f"{short(total)}-parameter " if is_number(total) and total > 0 else ""


def warnings_of(facts: dict[str, Any]) -> list[str]:
    return [portable(str(warning)) for warning in facts.get("warnings") or []]
