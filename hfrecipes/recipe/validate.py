"""Holds values against a schema and says, for a person, what does not fit, where, and what would.

Covers the part of JSON Schema that `schema.py` writes. A general validator would find the same faults, but would report the
branches of an `anyOf` instead of the nearest word.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from hfrecipes.recipe.owned import instead_of
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.yaml_reader import Keys, dotted, parse_scalar

Schema = dict[str, Any]
Where = Callable[[Keys], str]

_NAMES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "null": "null",
    "array": "a list",
    "object": "a mapping",
}
# No count of a recipe comes near what 64 bits can hold, and no library beneath takes more.
LARGEST = 2**63
# More choices than this are not listed in full; the nearest one is named.
_LISTED = 12


def validate(value: Any, schema: Schema, root: Schema, where: Where, keys: Keys = ()) -> list[Problem]:
    """Every fault in `value`, and every value that the schema cannot judge (severity `unchecked`).

    Args:
        value: A value as read from YAML.
        schema: What it should be.
        root: The whole schema, which `$ref` points into.
        where: From keys to a place that the user can open.
        keys: Where `value` stands in the recipe.
    """
    return _Validator(root, where).check(value, schema, keys)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt or shortened one most likely means."""
    options = {key.lower(): key for key in known}
    begins = [key for key in options if key.startswith(word.lower())] if len(word) > 2 else []
    matches = begins or difflib.get_close_matches(word.lower(), options, n=1, cutoff=0.6)
    return options[matches[0]] if matches else None


class _Validator:
    def __init__(self, root: Schema, where: Where) -> None:
        self.root = root
        self.where = where

    def check(self, value: Any, schema: Schema, keys: Keys) -> list[Problem]:
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            return self.check(value, self.root["$defs"][name], keys)
        if schema.get("x-config"):
            return self._config(value, keys)
        if "x-chosen-by" in schema:
            return self._chosen(value, schema, keys)
        if "anyOf" in schema:
            return self._any_of(value, schema, keys)
        if "enum" in schema or "const" in schema:
            return self._choice(value, schema.get("enum", [schema.get("const")]), keys)
        if "type" not in schema:
            return [] if value is None else [self._unchecked(keys)]
        return self._typed(value, schema, keys)

    def _typed(self, value: Any, schema: Schema, keys: Keys) -> list[Problem]:
        names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        if not any(_is_a(value, name) for name in names):
            return [self._wrong_type(value, names, keys)]
        if isinstance(value, dict):
            return [] if "x-checked-by" in schema else self._mapping(value, schema, keys)
        if isinstance(value, list):
            items = schema.get("items", {})
            return [fault for index, item in enumerate(value) for fault in self.check(item, items, (*keys, index))]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return self._in_range(value, schema, keys)
        if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
            return [self._fault(keys, f"{dotted(keys)} is {value!r}", f"it has the form {schema['pattern']}")]
        return []

    def _mapping(self, value: dict[str, Any], schema: Schema, keys: Keys) -> list[Problem]:
        properties, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        problems = []
        for key, item in value.items():
            here = (*keys, key)
            if key in properties:
                problems += self.check(item, properties[key], here)
            elif others is False:
                problems.append(self._unknown(here, properties))
            elif others:
                problems += self.check(item, others, here)
            elif item is not None:
                problems.append(self._unchecked(here))
        for key in schema.get("required", ()):
            if value.get(key) is None:
                fix = "add it" if keys else "add it; `hfrecipes show tour/first` is a whole recipe to begin from"
                problems.append(self._fault(keys, f"{dotted((*keys, key))} is missing", fix))
        return problems

    def _any_of(self, value: Any, schema: Schema, keys: Keys) -> list[Problem]:
        found = [self.check(value, branch, keys) for branch in schema["anyOf"]]
        good = [problems for problems in found if all(problem.severity != "error" for problem in problems)]
        if good:
            return min(good, key=len) + (self._in_range(value, schema, keys) if _is_a(value, "number") else [])
        # The branch of the value's own type says what is wrong inside it.
        shaped = [
            problems for branch, problems in zip(schema["anyOf"], found, strict=True) if _same_shape(value, branch)
        ]
        if shaped:
            return shaped[0]
        choices = [choice for branch in schema["anyOf"] for choice in branch.get("enum", ())]
        if isinstance(value, str) and choices:
            return self._choice(value, choices, keys)
        # A number of the right type is out of its range, which says more than the types do.
        for branch in schema["anyOf"]:
            if "type" in branch and any(_is_a(value, name) for name in _type_names(branch)):
                (fault,) = self.check(value, branch, keys)
                others = "".join(f", or {choice}" for choice in choices if choice is not None)
                return [replace(fault, fix=fault.fix + others)]
        names = [name for branch in schema["anyOf"] for name in _type_names(branch)]
        return [self._wrong_type(value, list(dict.fromkeys(names)), keys)]

    def _choice(self, value: Any, choices: list[Any], keys: Keys) -> list[Problem]:
        if any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in choices):
            return []
        words = [str(choice) for choice in choices if choice is not None]
        guess = nearest(str(value), words)
        few = len(words) <= _LISTED
        listed = f"one of {', '.join(words)}" if few else f"one of {', '.join(words[:_LISTED])} …"
        fix = f"it is {listed}"
        if guess:
            fix = f"did you mean {guess}?" + (f" It is {listed}" if few else "")
        return [self._fault(keys, f"{dotted(keys)} is {_shown(value)}, which it cannot be", fix)]

    def _chosen(self, value: Any, schema: Schema, keys: Keys) -> list[Problem]:
        """A mapping of which one word says what the others are: it is held against the branch of that word alone."""
        key = schema["x-chosen-by"]
        branches = {branch["properties"][key]["const"]: branch for branch in schema["oneOf"]}
        if not isinstance(value, dict):
            first = next(iter(branches))
            return [
                self._fault(keys, f"{dotted(keys)} is {_shown(value)}", f"it is a mapping, as in {{{key}: {first}}}")
            ]
        if value.get(key) is None:
            return [self._fault(keys, f"{dotted((*keys, key))} is missing", f"it is one of {', '.join(branches)}")]
        if not isinstance(value[key], str) or value[key] not in branches:
            return self._choice(value[key], list(branches), (*keys, key))
        return self._mapping(value, branches[value[key]], keys)

    def _config(self, value: Any, keys: Keys) -> list[Problem]:
        """Keys of a model's config, against the fields that its class declares: transformers takes any key in silence."""
        if not isinstance(value, dict):
            return [self._wrong_type(value, ["object"], keys)]
        configs = self.root["$defs"]["configs"]
        model_type = value.get("model_type")
        if model_type is None:
            return [self._fault(keys, f"{dotted(keys)} names no model_type", "add one, such as model_type: llama")]
        if not isinstance(model_type, str) or model_type not in configs:
            return self._choice(model_type, [name for name in configs if name], (*keys, "model_type"))
        properties = {"model_type": {}, **configs[""], **configs[model_type]}
        fields = {key: item for key, item in value.items() if key != "model_type"}
        return self._mapping(fields, {"properties": properties, "additionalProperties": False}, keys)

    def _in_range(self, value: float, schema: Schema, keys: Keys) -> list[Problem]:
        if isinstance(value, float) and not math.isfinite(value):
            return [self._fault(keys, f"{dotted(keys)} is {value}", "it is a finite number")]
        if abs(value) >= LARGEST:
            return [self._fault(keys, f"{dotted(keys)} is {_shown(value)}", f"it is below {LARGEST:.2g} in size")]
        above = schema.get("exclusiveMinimum")
        if above is not None and value <= above:
            return [self._fault(keys, f"{dotted(keys)} is {value}", f"it is more than {above}")]
        below = schema.get("exclusiveMaximum")
        if below is not None and value >= below:
            return [self._fault(keys, f"{dotted(keys)} is {value}", f"it is less than {below}")]
        low, high = schema.get("minimum"), schema.get("maximum")
        if (low is None or value >= low) and (high is None or value <= high):
            return []
        span = f"at least {low}" if high is None else f"at most {high}" if low is None else f"between {low} and {high}"
        return [self._fault(keys, f"{dotted(keys)} is {value}", f"it is {span}")]

    def _unknown(self, keys: Keys, properties: Schema) -> Problem:
        word = str(keys[-1])
        if len(keys) == 2 and keys[0] == "training" and (instead := instead_of(word)):
            return self._fault(keys, f"{dotted(keys)} is not for a recipe to say", instead)
        guess = nearest(word, properties)
        fix = f"did you mean {guess}?" if guess else f"known here: {', '.join(list(properties)[:_LISTED])}"
        if guess is None and len(properties) > _LISTED:
            fix += " …"
        return self._fault(keys, f"{dotted(keys)} is not a known key", fix)

    def _wrong_type(self, value: Any, names: list[str], keys: Keys) -> Problem:
        wanted = " or ".join(_NAMES[name] for name in names if name != "null" or len(names) == 1) or "null"
        fix = f"it is {wanted}"
        if isinstance(value, str) and any(_is_a(parse_scalar(value), name) for name in names if name != "null"):
            fix += "; remove the quotes"
        return self._fault(keys, f"{dotted(keys) or 'the recipe'} is {_shown(value)}", fix)

    def _fault(self, keys: Keys, message: str, fix: str) -> Problem:
        return Problem(self.where(keys), message, fix)

    def _unchecked(self, keys: Keys) -> Problem:
        return Problem(self.where(keys), f"{dotted(keys)} is passed on as it is", "", "unchecked")


def _is_a(value: Any, name: str) -> bool:
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if name == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    types = {"boolean": bool, "string": str, "null": type(None), "array": list, "object": dict}
    return isinstance(value, types[name])


def _type_names(schema: Schema) -> list[str]:
    if "anyOf" in schema:
        return [name for branch in schema["anyOf"] for name in _type_names(branch)]
    if "enum" in schema:
        return ["string"]
    names = schema.get("type", "object")
    return [names] if isinstance(names, str) else list(names)


def _same_shape(value: Any, schema: Schema) -> bool:
    return isinstance(value, dict | list) and any(_is_a(value, name) for name in _type_names(schema))


def _shown(value: Any) -> str:
    if value is None:
        return "empty"
    text = repr(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
