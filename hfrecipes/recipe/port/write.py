"""A recipe as YAML that a person goes on editing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import yaml

from hfrecipes.recipe.yaml_reader import parse_scalar

if TYPE_CHECKING:
    from hfrecipes.recipe.port.convert import Note

_ORDER = ("kind", "name", "model", "quantization", "adapter", "data", "training", "publish")
_WIDTH = 120


class _Inline(dict):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    pass


def _string(dumper: yaml.Dumper, value: str) -> yaml.Node:
    # PyYAML quotes what YAML 1.1 would misread (no, on); recipes are read as YAML 1.2, which has other cases (1e-4).
    style = None if isinstance(parse_scalar(value), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)
_Dumper.add_representer(
    _Inline, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)
)


def write_recipe(values: dict[str, Any], origin: str, notes: Sequence[Note]) -> str:
    """The recipe with a heading, and at its end what was not carried over as it stood."""
    parts = [f"# Ported from {origin} by hfrecipes port. hfrecipes check and hfrecipes plan are the next steps.\n"]
    if "name_or_path" in values["model"] and "model_type" not in values["model"]:
        parts.append("# With model.model_type (llama, qwen3, …) beside the name, plan and --smoke work offline too.\n")
    for section in _ORDER:
        if section in values:
            parts.append(_dump({section: _inlined(section, values[section])}))
    return "".join(parts) + "".join(_told(notes, fate) for fate in ("translated", "added", "dropped"))


def _inlined(section: str, value: Any) -> Any:
    if section != "data":
        return value
    return {role: [_Inline(source) for source in sources] for role, sources in value.items()}


def _dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)


def _told(notes: Sequence[Note], fate: str) -> str:
    lines = [f"{note.key}: {note.text}" for note in notes if note.fate == fate]
    if not lines:
        return ""
    wrapped = [
        textwrap.fill(line, _WIDTH, initial_indent="#   ", subsequent_indent="#     ", break_long_words=False)
        for line in lines
    ]
    return "\n".join([f"\n# {fate.capitalize()}:", *wrapped]) + "\n"
