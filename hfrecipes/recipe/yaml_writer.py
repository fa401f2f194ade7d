"""Values as YAML that `yaml_reader` reads back as they were."""

from __future__ import annotations

from typing import Any

import yaml

from hfrecipes.recipe.yaml_reader import parse_scalar

_WIDTH = 120


class Inline(dict):
    """A mapping that is written on one line."""


class _Dumper(yaml.SafeDumper):
    pass


def _string(dumper: yaml.Dumper, value: str) -> yaml.Node:
    # PyYAML quotes what YAML 1.1 would misread (no, on); recipes are read as YAML 1.2, which has other cases (1e-4).
    style = None if isinstance(parse_scalar(value), str) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)
_Dumper.add_representer(
    Inline, lambda dumper, value: dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)
)


def dump_yaml(value: Any) -> str:
    """YAML in the order of the keys."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
