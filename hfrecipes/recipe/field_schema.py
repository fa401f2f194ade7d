"""JSON Schema of classes' fields and of type hints: what a recipe may say where a dataclass will be built from it."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import types
import typing
from typing import Any

from hfrecipes.recipe import words

Schema = dict[str, Any]


def dataclass_schema(cls: type) -> Schema:
    """The schema of a dataclass: unknown keys are errors, nested dataclasses are nested objects."""
    return object_schema(fields_schema(cls))


def chosen_schema(key: str, classes: dict[str, type]) -> Schema:
    """The schema of a mapping whose other words depend on one of them: `{rule: language, languages: [en]}`.

    Args:
        key: The word that chooses.
        classes: What it can be -> the dataclass of the other words.
    """
    return choice_schema(
        key, {name: (" ".join((cls.__doc__ or "").split()), fields_schema(cls)) for name, cls in classes.items()}
    )


def choice_schema(key: str, branches: dict[str, tuple[str, Schema]]) -> Schema:
    """As `chosen_schema`, of descriptions and schemas of fields by name."""
    return {
        "type": "object",
        "required": [key],
        "x-chosen-by": key,
        "oneOf": [
            object_schema({key: {"const": name, "description": text}, **fields})
            for name, (text, fields) in branches.items()
        ],
    }


def object_schema(properties: Schema) -> Schema:
    """The schema of a mapping with these keys and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


def fields_schema(cls: type, skip: typing.Collection[str] = (), help: bool = True) -> Schema:
    """The schemas of a dataclass's fields by name.

    Args:
        cls: The dataclass.
        skip: Fields that are left out, beside private ones and those that are not given to `__init__`.
        help: Whether descriptions and ranges are taken from the fields' metadata.
    """
    hints = _type_hints(cls)
    properties = {}
    for field in dataclasses.fields(cls):
        if field.name in skip or field.name.startswith("_") or not field.init:
            continue
        schema = _hand_kept(cls, field.name, hint_schema(hints.get(field.name, Any)))
        if chosen_by := field.metadata.get("chosen_by"):
            schema = {"type": "array", "items": chosen_schema(*chosen_by)}
        schema = field.metadata.get("shape") or schema
        if help:
            schema |= {key: field.metadata[key] for key in ("minimum", "maximum") if key in field.metadata}
            if text := field.metadata.get("help"):
                schema["description"] = " ".join(str(text).split())
        properties[field.name] = schema
    return properties


def _type_hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls)
    except (NameError, TypeError):  # a hint that names something which is not importable here
        return {name: hint for base in reversed(cls.__mro__) for name, hint in inspect.get_annotations(base).items()}


def _hand_kept(cls: type, name: str, hinted: Schema) -> Schema:
    """The hinted schema, narrowed by what the hand-kept table knows."""
    schema = hinted
    for owner in (base.__name__ for base in cls.__mro__):
        if choices := words.CHOICES.get(owner, {}).get(name):
            schema = {"enum": [*choices, None] if "null" in hinted.get("type", ()) else choices}
        if keys := words.DICT_KEYS.get(owner, {}).get(name):
            schema = _any_of([object_schema(keys), {"type": "null"}])
        schema = words.SCHEMAS.get(owner, {}).get(name, schema)
    return schema | words.RANGES.get(name, {})


def hint_schema(hint: Any) -> Schema:
    """The schema of one type hint; `{}` (anything goes) where it says nothing that JSON knows."""
    if isinstance(hint, str):
        return _named_hint(hint)
    plain = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
    if hint in plain:
        return {"type": plain[hint]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union_schema(arguments)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (list, set, tuple) or hint in (list, set, tuple):
        inner = [argument for argument in arguments if argument is not Ellipsis]
        same = len({str(argument) for argument in inner}) == 1
        return {"type": "array", **({"items": hint_schema(inner[0])} if same else {})}
    if origin is dict or hint is dict:
        values = hint_schema(arguments[1]) if arguments else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if origin is typing.Annotated:
        return hint_schema(arguments[0])
    return _class_schema(hint)


def _named_hint(hint: str) -> Schema:
    names = {"bool": "boolean", "int": "integer", "float": "number", "str": "string", "None": "null", "dict": "object"}
    parts = [part.strip() for part in hint.split("|")]
    if all(part in names for part in parts):
        return _any_of([{"type": names[part]} for part in parts])
    return {}


def _class_schema(hint: Any) -> Schema:
    if not isinstance(hint, type):
        return {}
    if issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}
    if typing.is_typeddict(hint):
        return object_schema({name: hint_schema(value) for name, value in typing.get_type_hints(hint).items()})
    if dataclasses.is_dataclass(hint):
        return dataclass_schema(hint)
    if f"{hint.__module__}.{hint.__qualname__}" == "torch.dtype":
        return {"enum": list(words.DTYPES)}
    return {}


def _union_schema(arguments: tuple[Any, ...]) -> Schema:
    members = [(argument, hint_schema(argument)) for argument in arguments]
    enums = [schema for argument, schema in members if isinstance(argument, type) and issubclass(argument, enum.Enum)]
    objects = [schema for _, schema in members if schema.get("type") == "object"]
    if enums or objects:
        # An enum's value, or an object, may also be given as a string: the first is the enum's choice, the second is JSON for
        # command lines. Neither says more than the other member does.
        members = [(argument, schema) for argument, schema in members if argument is not str]
    if any("properties" in schema for schema in objects):
        # A class beside a plain dict: the dict's keys are the class's fields.
        members = [member for member in members if member[1] not in objects or "properties" in member[1]]
    # Unions are equal in any order and cached, so their order depends on which was made first in the process.
    return _any_of(sorted((schema for _, schema in members), key=_rank))


def _rank(schema: Schema) -> tuple[int, str]:
    order = ("boolean", "integer", "number", "string", "array", "object", "null")
    name = schema.get("type")
    return (order.index(name) if isinstance(name, str) else len(order), json.dumps(schema, sort_keys=True))


def _any_of(schemas: list[Schema]) -> Schema:
    if {} in schemas:
        return {}
    if len(schemas) == 1:
        return schemas[0]
    if all(set(schema) == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}
