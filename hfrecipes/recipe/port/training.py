"""The fields of SFTConfig: carried over, under their present names, with values of their present types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hfrecipes.recipe.port import words
from hfrecipes.recipe.problem import Problem
from hfrecipes.recipe.schema import load_schema
from hfrecipes.recipe.validate import validate
from hfrecipes.recipe.yaml_reader import parse_scalar

if TYPE_CHECKING:
    from hfrecipes.recipe.port.convert import Translation

# What YAML 1.1, which those libraries read with, takes for a boolean, and YAML 1.2 for a word.
_WORDS_11 = {"yes": True, "on": True, "no": False, "off": False}


def translate(work: Translation) -> None:
    """Moves everything that is left into `training:`."""
    fields = load_schema()["$defs"]["training-sft"]["properties"]
    work.values.setdefault("training", {})
    _special(work)
    for key in list(work.old):
        ours = words.RENAMED.get(key, key)
        if ours in work.values["training"] or (ours != key and work.has(ours)):
            fix = f"keep {ours}, which is its present name"
            work.fault(key, f"{key} and {ours} stand for the same field", fix)
            work.take(key)
            continue
        value = work.take(key)
        mend = mended(value, fields[ours])
        work.put("training", ours, mend, key)
        if ours != key:
            work.translated(key, f"training.{ours}")
        if mend is not value:
            work.translated(key, f"{value!r} is written {_yaml_word(mend)}")
    if not work.values["training"]:
        work.fault("", "holds no settings of a training", "add learning_rate, at least")


def mended(value: Any, schema: dict[str, Any]) -> Any:
    """The value as the type that the schema wants, where it is a string that stands for one; else the value itself."""
    if not isinstance(value, str) or not _faults(value, schema):
        return value
    options = [parse_scalar(value)]
    if value.lower() in _WORDS_11:
        options.append(_WORDS_11[value.lower()])
    return next((option for option in options if not isinstance(option, str) and not _faults(option, schema)), value)


def is_true(value: Any) -> bool:
    """Whether a flag is on, in YAML 1.1's words or 1.2's."""
    return value is True or (isinstance(value, str) and value.lower() in ("true", "yes", "on"))


def _faults(value: Any, schema: dict[str, Any]) -> list[Problem]:
    return [problem for problem in validate(value, schema, load_schema(), str) if problem.severity == "error"]


def _special(work: Translation) -> None:
    if work.has("warmup_ratio"):
        _warmup(work)
    if work.has("gradient_checkpointing_use_reentrant"):
        key = "gradient_checkpointing_use_reentrant"
        value = {"use_reentrant": is_true(work.take(key))}
        work.put("training", "gradient_checkpointing_kwargs", value, key)
        work.translated(key, "training.gradient_checkpointing_kwargs.use_reentrant")
    if work.has("chat_template"):
        _chat_template(work)


def _warmup(work: Translation) -> None:
    """transformers took `warmup_steps` before `warmup_ratio` where both were given."""
    ratio = mended(work.old["warmup_ratio"], {"type": "number"})
    if work.old.get("warmup_steps"):
        work.drop("warmup_ratio", "warmup_steps stands beside it, and came first")
    elif not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 <= ratio < 1:
        work.fault(
            "warmup_ratio", f"warmup_ratio is {work.take('warmup_ratio')!r}", "it is a share of all steps, from 0 to 1"
        )
    else:
        if work.has("warmup_steps"):
            work.drop("warmup_steps", "warmup_ratio stands beside it")
        work.take("warmup_ratio")
        work.put("training", "warmup_steps", ratio, "warmup_ratio")
        work.translated("warmup_ratio", f"training.warmup_steps: {ratio}, a share of all steps")


def _chat_template(work: Translation) -> None:
    template = work.old["chat_template"]
    if not isinstance(template, str) or not template.strip():
        work.drop("chat_template", "the tokenizer's own is the default")
        return
    work.take("chat_template")
    name = f"{work.stem}.jinja"
    work.files[name] = template
    work.put("training", "chat_template_path", name, "chat_template")
    work.translated("chat_template", f"training.chat_template_path: {name}, a file beside the recipe")


def _yaml_word(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "null"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )
