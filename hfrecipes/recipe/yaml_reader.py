"""YAML with line numbers: every value remembers where it was written, and nothing is dropped in silence.

The scalars are those of YAML 1.2's core schema, not PyYAML's 1.1: `1e-4` is a number, `no` is a string (a language code, say),
`on` is a string and `1:30` is a string. Duplicate keys and merge keys (`<<`) are errors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hfrecipes.recipe.problem import Problem, RecipeError

Keys = tuple[str | int, ...]

# Aliases can make a short file expand without end; no recipe needs this many values.
MAX_VALUES = 100_000
# The same for their characters: an alias is a few of them in the file and all of its text in the recipe.
MAX_CHARACTERS = 20_000_000

_NESTED = "remove brackets and aliases that no recipe needs"
_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"

# Python refuses to convert integers of thousands of digits; no number of a recipe comes near.
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}$")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,250}$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_SPECIAL_FLOATS = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def read_yaml(path: Path) -> tuple[Any, dict[Keys, int]]:
    """Reads one YAML document.

    Returns:
        The value, made of dicts, lists and scalars, and the line (from 1) at which each part of it, by its keys, begins.

    Raises:
        RecipeError: for a file that cannot be read, that is not YAML, or that says one key twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problem = Problem(str(path), f"is not UTF-8 text (byte {error.start})", "save it as UTF-8")
        raise RecipeError(problem) from None
    except OSError as error:
        raise RecipeError(Problem(str(path), f"cannot be read: {error.strerror}")) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> tuple[Any, dict[Keys, int]]:
    """Like `read_yaml`, for text that is at hand; `name` stands for the file in errors."""
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(_syntax_problem(f"{name}:{line}", error, text, line)) from None
    except yaml.YAMLError as error:
        raise RecipeError(Problem(name, f"is not YAML: {error}")) from None
    except RecursionError:
        raise RecipeError(Problem(name, "is nested too deeply", _NESTED)) from None
    reader = _Reader(name)
    try:
        value = reader.convert(node, ()) if node is not None else None
    except RecursionError:  # an alias that stands inside what it stands for
        raise RecipeError(Problem(name, "is nested without end", _NESTED)) from None
    if reader.problems:
        raise RecipeError(reader.problems)
    return value, reader.lines


def parse_scalar(text: str) -> Any:
    """The value of a plain (unquoted) YAML 1.2 scalar."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.match(text):
        return int(text)
    if _HEXADECIMAL.match(text):
        return int(text, 16)
    if _FLOAT.match(text):
        return float(text)
    if text.lower() in _SPECIAL_FLOATS:
        return float(_SPECIAL_FLOATS[text.lower()])
    return text


def _syntax_problem(where: str, error: yaml.MarkedYAMLError, text: str, line: int) -> Problem:
    lines = text.splitlines()
    if line <= len(lines) and "\t" in lines[line - 1][: len(lines[line - 1]) - len(lines[line - 1].lstrip())]:
        return Problem(where, "a tab indents this line", "YAML is indented with spaces")
    reason = " ".join(part for part in (error.context, error.problem) if part)
    return Problem(where, f"is not valid YAML: {reason}", "check indentation, colons, quotes and brackets here")


class _Loader(yaml.SafeLoader):
    """Calls a scalar without quotes and tag plain, where PyYAML would judge it by YAML 1.1's rules."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        plain = kind is yaml.ScalarNode and implicit[0]
        return _PLAIN if plain else super().resolve(kind, value, implicit)


class _Reader:
    """Turns composed nodes into plain values, noting lines and faults."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Keys, int] = {}
        self.problems: list[Problem] = []
        self._characters = 0

    def convert(self, node: yaml.Node, keys: Keys) -> Any:
        if len(self.lines) >= MAX_VALUES:
            raise RecipeError(Problem(self.name, f"holds more than {MAX_VALUES:,} values", "remove nested aliases"))
        self.lines.setdefault(keys, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._tagged(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, keys)
        return [self.convert(item, (*keys, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        value: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(line, "a key must be a word", "quote it")
                continue
            key = self._joined(key_node)
            if key == "<<":
                self._fault(line, "merge keys (<<) are not part of a recipe", "write the values out")
            elif key in value:
                first = self.lines[(*keys, key)]
                self._fault(line, f"{dotted((*keys, key))} is said twice, first in line {first}", "keep one of them")
            else:
                self.lines[(*keys, key)] = line
                value[key] = self.convert(value_node, (*keys, key))
        return value

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        self._characters += len(node.value)
        if self._characters > MAX_CHARACTERS:
            fault = f"holds more than {MAX_CHARACTERS:,} characters"
            raise RecipeError(Problem(self.name, fault, "remove aliases of long texts"))
        if node.tag == _PLAIN:
            return parse_scalar(node.value)
        return self._joined(node) if node.tag == _TAG + "str" else self._tagged(node)

    def _joined(self, node: yaml.ScalarNode) -> str:
        """The text of a scalar, escapes of UTF-16 (`"\\ud83d\\ude00"`, as JSON has them) put together."""
        try:
            return node.value.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._fault(node.start_mark.line + 1, "half a character is escaped", "write the character itself")
            return ""

    def _tagged(self, node: yaml.Node) -> None:
        tag = node.tag.replace(_TAG, "!!")
        self._fault(node.start_mark.line + 1, f"the tag {tag} is not part of a recipe", "remove it")

    def _fault(self, line: int, message: str, fix: str) -> None:
        self.problems.append(Problem(f"{self.name}:{line}", message, fix))


def dotted(keys: Keys) -> str:
    """The keys as a person writes them: `data.train.0.name`."""
    return ".".join(str(key) for key in keys)
