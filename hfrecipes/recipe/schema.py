"""The schema of recipes: made from the very classes that will be built, at the versions that are installed.

Making it imports trl, peft and transformers, which costs seconds. So the package ships the schema of one exact set of
versions, and other versions get theirs once, into the cache. It is plain JSON Schema (draft 2020-12), so editors understand it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import json
import os
import types
import typing
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hfrecipes.recipe import adapter_words, words
from hfrecipes.recipe.owned import instead_of
from hfrecipes.recipe.regularization_words import DropoutWords, OptimizerWords
from hfrecipes.recipe.reward_words import REWARDS
from hfrecipes.recipe.rundir import write_atomically
from hfrecipes.recipe.sections import KINDS, OUR_SECTIONS, REQUIRED_SECTIONS, Step, TokenizerTraining
from hfrecipes.recipe.source_list import PROMPTED

Schema = dict[str, Any]

# The libraries whose classes the schema is read from.
LIBRARIES = ("transformers", "trl", "peft")
# Raised when the making of the schema changes, so that cached ones are made anew.
EDITION = 29
SHIPPED = Path(__file__).with_name("schema.json")


def installed_versions() -> dict[str, str]:
    """The versions that the schema depends on; empty for a library that is not installed."""
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = ""
    return found


@functools.cache
def load_schema() -> Schema:
    """The schema for the installed versions: the shipped one, the cached one, or one made now."""
    wanted = {"edition": EDITION, **installed_versions()}
    cached = _cached_file(wanted)
    for file in (SHIPPED, cached):
        if file.is_file():
            schema = json.loads(file.read_text(encoding="utf-8"))
            if schema["x-versions"] == wanted:
                return schema
    schema = make_schema()
    cached.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(cached, dump_schema(schema))
    return schema


def cache_folder() -> Path:
    """Where prepared data, trained tokenizers and schemas are kept: `HFRECIPES_CACHE`, else below `HF_HOME`."""
    if folder := os.environ.get("HFRECIPES_CACHE"):
        return Path(folder)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hfrecipes"


def _cached_file(wanted: dict[str, Any]) -> Path:
    return cache_folder() / ("schema-" + "-".join(f"{name}{value}" for name, value in wanted.items()) + ".json")


def dump_schema(schema: Schema) -> str:
    """JSON with one model type per line, so that a change of versions reads well as a diff."""
    configs = schema["$defs"]["configs"]
    rest = {**schema, "$defs": {**schema["$defs"], "configs": "CONFIGS"}}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(configs[name], sort_keys=True)}" for name in sorted(configs))
    return json.dumps(rest, indent=1, ensure_ascii=False).replace('"CONFIGS"', "{\n" + lines + "\n}", 1) + "\n"


def make_schema() -> Schema:
    """Reads the classes. Imports trl, peft and transformers."""
    from transformers import TrainingArguments
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    from trl import DPOConfig, KTOConfig, RewardConfig, SFTConfig

    trainings = {
        "pretrain": TrainingArguments,
        "sft": SFTConfig,
        "reward": RewardConfig,
        "dpo": DPOConfig,
        "kto": KTOConfig,
        # By its name: this room imports none above it, and a schema that is shipped is not made by those who read it.
        "orpo": import_module("hfrecipes.trainers.orpo.config").ORPOConfig,
        "ppo": import_module("hfrecipes.trainers.ppo.config").PPOConfig,
        "grpo": import_module("hfrecipes.trainers.groups.config").RecipeGRPOConfig,
        "rloo": import_module("hfrecipes.trainers.groups.config").RecipeRLOOConfig,
    }
    defs: Schema = {
        "model": _model_schema(),
        "quantization": _object({name: dict(word) for name, word in words.BITSANDBYTES.items()}),
        "adapter": _adapter_schema(),
        "step": _step_schema(),
        "rewards": REWARDS,
        "schedulers": _scheduler_schemas(),
        "causal": sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        "configs": _config_schemas(),
    }
    for kind, cls in trainings.items():
        defs[f"training-{kind}"] = _training_schema(cls)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hfrecipes recipe",
        "x-versions": {"edition": EDITION, **installed_versions()},
        "type": "object",
        "properties": {"kind": {"enum": list(KINDS)}},
        "required": ["kind"],
        "allOf": [
            {"if": {"properties": {"kind": {"const": kind}}}, "then": {"$ref": f"#/$defs/{kind}"}} for kind in KINDS
        ],
        "$defs": {**defs, **{kind: _kind_schema(kind) for kind in KINDS}},
    }


def _kind_schema(kind: str) -> Schema:
    properties: Schema = {
        "kind": {"const": kind},
        "name": {"type": "string", "description": "The name of the run: its folder is runs/<name>/."},
    }
    if kind == "pipeline":
        properties["steps"] = {"type": "array", "items": {"$ref": "#/$defs/step"}}
    else:
        properties["model"] = {"$ref": "#/$defs/model"}
        # Null takes away what a recipe says: `hfrecipes run R adapter=null` is full fine-tuning.
        properties["quantization"] = _or_null({"$ref": "#/$defs/quantization"})
        properties["adapter"] = _or_null({"$ref": "#/$defs/adapter"})
        properties["training"] = {"$ref": f"#/$defs/training-{kind}"}
        properties["optimizer"] = _or_null(dataclass_schema(OptimizerWords))
    if kind == "pretrain":
        # Random or full weights are trained; an adapter on them is a later kind of recipe.
        del properties["quantization"], properties["adapter"]
    if kind in PROMPTED:
        properties["rewards"] = {"$ref": "#/$defs/rewards"}
    properties |= {name: _or_null(dataclass_schema(section)) for name, section in OUR_SECTIONS[kind].items()}
    return {**_object(properties), "required": list(REQUIRED_SECTIONS[kind])}


def _model_schema() -> Schema:
    ours: Schema = {
        "name_or_path": {"type": "string", "description": "A Hub id, or a folder with a model (or an adapter)."},
        "model_type": {
            "type": "string",
            "description": "The architecture of a Hub id, so that it can be planned offline.",
        },
        "config": {
            "type": "object",
            "x-config": True,
            "properties": {"model_type": {"type": "string"}},
            "description": "A config for random weights: model_type and fields.",
        },
        "tokenizer": {
            "anyOf": [{"type": "string"}, dataclass_schema(TokenizerTraining)],
            "description": "A Hub id or folder, {vocab_size: N} to train one, {extend: N} to add to the model's own (default).",
        },
        "freeze": {
            **dataclass_schema(adapter_words.FreezeWords),
            "description": "What is not trained: by names, or all but the last layers.",
        },
        "dropout": {
            **dataclass_schema(DropoutWords),
            "description": "Shares that are dropped in training, by part of the model, whatever its config calls them.",
        },
    }
    # Null takes away here, too: weights and config, say, exclude each other.
    return _object({name: _or_null(word) for name, word in {**ours, **_rope_schema(), **words.FROM_PRETRAINED}.items()})


def _rope_schema() -> Schema:
    """What a config says of rotary positions, for a model that goes on with others than it was trained with."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, RopeParameters

    flat = hint_schema(RopeParameters)["properties"]
    flat["rope_type"] = {"enum": ["default", *sorted(ROPE_INIT_FUNCTIONS)]}
    flat |= {name: {**word, **words.ROPE_RANGES.get(name, {})} for name, word in flat.items()}
    by_layer = {kind: _object(flat) for kind in words.ROPE_LAYERS}
    return {
        "rope_parameters": {
            **_object({**flat, **by_layer}),
            "description": "Rotary positions from here on: rope_type, rope_theta, factor …, or those of each kind of layer.",
        },
        "max_position_embeddings": {
            "type": "integer",
            "minimum": 1,
            "description": "The longest row from here on. Default: the model's, or as many as data.context_length.",
        },
    }


def _or_null(schema: Schema) -> Schema:
    branches = schema.get("anyOf", [{key: value for key, value in schema.items() if key != "description"}])
    described = {"description": schema["description"]} if "description" in schema else {}
    return {"anyOf": [*branches, {"type": "null"}], **described}


def _adapter_schema() -> Schema:
    import peft

    fields = {}
    for method, name in adapter_words.PEFT_CONFIGS.items():
        without = adapter_words.PROMPTING_INTERNAL if method in adapter_words.PROMPTING else ()
        fields[method] = _fields_schema(getattr(peft, name), skip=(*adapter_words.PEFT_INTERNAL, *without))
    fields[adapter_words.BOTTLENECK] = _fields_schema(adapter_words.BottleneckWords)
    return _chosen("method", {name: (text, fields[name]) for name, text in adapter_words.METHODS.items()})


def _training_schema(cls: type) -> Schema:
    fields = {name: word for name, word in _fields_schema(cls).items() if instead_of(name) is None}
    batch = {
        "type": "integer",
        "minimum": 1,
        "description": "Rows in one optimizer step over all processes; gradient accumulation follows from it.",
    }
    fields["report_to"] = _report_to_schema()
    # Which keys are known follows from lr_scheduler_type; the loader holds them against "schedulers".
    fields["lr_scheduler_kwargs"] |= {"x-checked-by": "lr_scheduler_type"}
    return _object({"global_batch_size": batch, **fields})


def _report_to_schema() -> Schema:
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    trackers = {"enum": [*sorted(INTEGRATION_TO_CALLBACK), "all", "none"]}
    return {"anyOf": [{"type": "null"}, trackers, {"type": "array", "items": trackers}]}


def _scheduler_schemas() -> Schema:
    """What `lr_scheduler_kwargs` may hold, by `lr_scheduler_type`."""
    from transformers.optimization import TYPE_TO_SCHEDULER_FUNCTION

    given = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "kwargs"}
    schemas = {}
    for name, function in TYPE_TO_SCHEDULER_FUNCTION.items():
        parameters = inspect.signature(function).parameters.values()
        open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        hints = {one.name: {} if one.annotation is one.empty else hint_schema(one.annotation) for one in parameters}
        properties = {key: hint for key, hint in hints.items() if key not in given}
        schemas[name.value] = {"type": "object"} if open_ended else _object(properties)
    return schemas


def _step_schema() -> Schema:
    schema = dataclass_schema(Step)
    properties = schema["properties"]
    properties["with"] = properties.pop("with_")
    properties["steps"] = {"type": "array", "items": {"$ref": "#/$defs/step"}}
    return {**schema, "required": ["name"]}


def _config_schemas() -> Schema:
    """Fields by model type; those that every config has are kept once, under the empty name."""
    from transformers import CONFIG_MAPPING, PreTrainedConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    common = _fields_schema(PreTrainedConfig, skip=("transformers_version",), help=False)
    schemas = {"": common}
    for name in CONFIG_MAPPING_NAMES:
        fields = _fields_schema(CONFIG_MAPPING[name], skip=("transformers_version",), help=False)
        schemas[name] = {key: word for key, word in fields.items() if common.get(key) != word}
    return schemas


# From a class's fields to a schema.


def dataclass_schema(cls: type) -> Schema:
    """The schema of a dataclass: unknown keys are errors, nested dataclasses are nested objects."""
    return _object(_fields_schema(cls))


def chosen_schema(key: str, classes: dict[str, type]) -> Schema:
    """The schema of a mapping whose other words depend on one of them: `{rule: language, languages: [en]}`.

    Args:
        key: The word that chooses.
        classes: What it can be -> the dataclass of the other words.
    """
    return _chosen(
        key, {name: (" ".join((cls.__doc__ or "").split()), _fields_schema(cls)) for name, cls in classes.items()}
    )


def _chosen(key: str, branches: dict[str, tuple[str, Schema]]) -> Schema:
    """As `chosen_schema`, of descriptions and fields by name."""
    return {
        "type": "object",
        "required": [key],
        "x-chosen-by": key,
        "oneOf": [
            _object({key: {"const": name, "description": text}, **fields}) for name, (text, fields) in branches.items()
        ],
    }


def _object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _fields_schema(cls: type, skip: typing.Collection[str] = (), help: bool = True) -> Schema:
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
            schema = _any_of([_object(keys), {"type": "null"}])
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
        return _object({name: hint_schema(value) for name, value in typing.get_type_hints(hint).items()})
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


if __name__ == "__main__":
    SHIPPED.write_text(dump_schema(make_schema()), encoding="utf-8")
