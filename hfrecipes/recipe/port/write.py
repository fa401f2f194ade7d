"""A recipe as YAML that a person goes on editing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hfrecipes.recipe.yaml_writer import Inline, dump_yaml

if TYPE_CHECKING:
    from hfrecipes.recipe.port.convert import Note

_ORDER = ("kind", "name", "model", "quantization", "adapter", "data", "training", "publish")
_WIDTH = 120


def write_recipe(values: dict[str, Any], origin: str, notes: Sequence[Note]) -> str:
    """The recipe with a heading, and at its end what was not carried over as it stood."""
    parts = [f"# Ported from {origin} by hfrecipes port. hfrecipes check and hfrecipes plan are the next steps.\n"]
    if "name_or_path" in values["model"] and "model_type" not in values["model"]:
        parts.append("# With model.model_type (llama, qwen3, …) beside the name, plan and --smoke work offline too.\n")
    for section in _ORDER:
        if section in values:
            parts.append(dump_yaml({section: _inlined(section, values[section])}))
    return "".join(parts) + "".join(_told(notes, fate) for fate in ("translated", "added", "dropped"))


def _inlined(section: str, value: Any) -> Any:
    if section != "data":
        return value
    return {role: [Inline(source) for source in sources] for role, sources in value.items()}


def _told(notes: Sequence[Note], fate: str) -> str:
    lines = [f"{note.key}: {note.text}" for note in notes if note.fate == fate]
    if not lines:
        return ""
    wrapped = [
        textwrap.fill(line, _WIDTH, initial_indent="#   ", subsequent_indent="#     ", break_long_words=False)
        for line in lines
    ]
    return "\n".join([f"\n# {fate.capitalize()}:", *wrapped]) + "\n"
