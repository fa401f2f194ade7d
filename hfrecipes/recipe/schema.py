"""The schema of recipes: made from the very classes that will be built, at the versions that are installed.

Making it imports trl, peft and transformers, which costs seconds. So the package ships the schema of one exact set of
versions, and other versions get theirs once, into the cache. It is plain JSON Schema (draft 2020-12), so editors understand it.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hfrecipes.recipe import adapter_words, words
from hfrecipes.recipe.field_schema import (
    Schema,
    choice_schema,
    dataclass_schema,
    fields_schema,
    hint_schema,
    object_schema,
)
from hfrecipes.recipe.owned import instead_of
from hfrecipes.recipe.regularization_words import DropoutWords, OptimizerWords
from hfrecipes.recipe.reward_words import REWARDS
from hfrecipes.recipe.rundir import write_atomically
from hfrecipes.recipe.sections import KINDS, OUR_SECTIONS, REQUIRED_SECTIONS, Step, TokenizerTraining
from hfrecipes.recipe.source_list import PROMPTED, SAMPLE

# The libraries whose classes the schema is read from.
LIBRARIES = ("transformers", "trl", "peft")
# Raised when the making of the schema changes, so that cached ones are made anew.
EDITION = 35
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
        "quantization": object_schema({name: dict(word) for name, word in words.BITSANDBYTES.items()}),
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
    if kind == SAMPLE:
        # Nothing is trained: a new adapter would answer as its base does.
        del properties["training"], properties["optimizer"], properties["adapter"]
    if kind in PROMPTED:
        properties["rewards"] = {"$ref": "#/$defs/rewards"}
    properties |= {name: _or_null(dataclass_schema(section)) for name, section in OUR_SECTIONS[kind].items()}
    return {**object_schema(properties), "required": list(REQUIRED_SECTIONS[kind])}


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
    return object_schema(
        {name: _or_null(word) for name, word in {**ours, **_rope_schema(), **words.FROM_PRETRAINED}.items()}
    )


def _rope_schema() -> Schema:
    """What a config says of rotary positions, for a model that goes on with others than it was trained with."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, RopeParameters

    flat = hint_schema(RopeParameters)["properties"]
    flat["rope_type"] = {"enum": ["default", *sorted(ROPE_INIT_FUNCTIONS)]}
    flat |= {name: {**word, **words.ROPE_RANGES.get(name, {})} for name, word in flat.items()}
    by_layer = {kind: object_schema(flat) for kind in words.ROPE_LAYERS}
    return {
        "rope_parameters": {
            **object_schema({**flat, **by_layer}),
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
        fields[method] = fields_schema(getattr(peft, name), skip=(*adapter_words.PEFT_INTERNAL, *without))
    fields[adapter_words.BOTTLENECK] = fields_schema(adapter_words.BottleneckWords)
    return choice_schema("method", {name: (text, fields[name]) for name, text in adapter_words.METHODS.items()})


def _training_schema(cls: type) -> Schema:
    fields = {name: word for name, word in fields_schema(cls).items() if instead_of(name) is None}
    batch = {
        "type": "integer",
        "minimum": 1,
        "description": "Rows in one optimizer step over all processes; gradient accumulation follows from it.",
    }
    fields["report_to"] = _report_to_schema()
    # Which keys are known follows from lr_scheduler_type; the loader holds them against "schedulers".
    fields["lr_scheduler_kwargs"] |= {"x-checked-by": "lr_scheduler_type"}
    return object_schema({"global_batch_size": batch, **fields})


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
        schemas[name.value] = {"type": "object"} if open_ended else object_schema(properties)
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

    common = fields_schema(PreTrainedConfig, skip=("transformers_version",), help=False)
    schemas = {"": common}
    for name in CONFIG_MAPPING_NAMES:
        fields = fields_schema(CONFIG_MAPPING[name], skip=("transformers_version",), help=False)
        schemas[name] = {key: word for key, word in fields.items() if common.get(key) != word}
    return schemas


if __name__ == "__main__":
    SHIPPED.write_text(dump_schema(make_schema()), encoding="utf-8")
