"""The order of a translation: every key is known, each is taken up once, and the result is a recipe that loads."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hfrecipes.recipe.loader import check_words
from hfrecipes.recipe.owned import instead_of
from hfrecipes.recipe.port import data, training, words
from hfrecipes.recipe.port.write import write_recipe
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.schema import load_schema
from hfrecipes.recipe.sections import KINDS
from hfrecipes.recipe.validate import nearest
from hfrecipes.recipe.yaml_reader import Keys, parse_yaml, read_yaml


@dataclass(frozen=True, slots=True)
class Note:
    """What became of a key that was not carried over as it stood.

    Args:
        fate: Said in other words, added because a default differs, or left out.
        key: The key of the old file; of the recipe where it was added.
        text: What it became, or why it is gone.
    """

    fate: Literal["translated", "added", "dropped"]
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.fate}: {self.key}: {self.text}"


@dataclass(frozen=True, slots=True)
class Ported:
    """A translation.

    Args:
        text: The recipe as YAML, with the notes as a comment at its end.
        values: The same as plain values.
        notes: What was not carried over as it stood, in the order of the old file.
        files: Name and text of files that must lie beside the recipe.
    """

    text: str
    values: dict[str, Any]
    notes: list[Note]
    files: dict[str, str]


@dataclass
class Translation:
    """The old file while it is taken apart. Each key is taken once; what is left over at the end is a bug, not a loss."""

    old: dict[str, Any]
    path: Path
    lines: dict[Keys, int]
    stem: str
    values: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    origins: dict[Keys, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def has(self, key: str) -> bool:
        return key in self.old

    def take(self, key: str, default: Any = None) -> Any:
        """The value of a key, which is thereby dealt with."""
        return self.old.pop(key, default)

    def put(self, section: str, key: str, value: Any, old_key: str) -> None:
        """Says `value` in a section of the recipe; faults of it are told at the line of the old key."""
        self.values.setdefault(section, {})[key] = value
        self.origins[(section, key)] = self.lines.get((old_key,), 1)

    def translated(self, key: str, text: str) -> None:
        self.notes.append(Note("translated", key, text))

    def added(self, key: str, text: str) -> None:
        self.notes.append(Note("added", key, text))

    def left_out(self, key: str, reason: str) -> None:
        self.notes.append(Note("dropped", key, reason))

    def drop(self, key: str, reason: str, *, secret: bool = False) -> None:
        value = self.take(key)
        shown = "" if secret else f" (was {_short(value)})"
        self.notes.append(Note("dropped", key, reason + shown))

    def fault(self, key: str, message: str, fix: str) -> None:
        self.problems.append(Problem(self.where(key), message, fix))

    def where(self, key: str) -> str:
        return f"{self.path}:{self.lines.get((key,), 1)}"


def port_file(path: Path, stem: str | None = None) -> Ported:
    """Translates a configuration of `trl sft` or an `sft` recipe of alignment-handbook.

    Args:
        path: The old file.
        stem: Name without ending of the recipe to be written, which files beside it are named after; the old one's by default.

    Raises:
        RecipeError: for a file that is no such configuration, with all unknown keys and all values that do not fit.
    """
    old, lines = read_yaml(path)
    if not isinstance(old, dict):
        raise RecipeError(Problem(str(path), "holds no configuration", "give a YAML file with keys"))
    if old.get("kind") in KINDS:
        raise RecipeError(Problem(str(path), "is a recipe already", "hfrecipes check says what is wrong with it"))
    work = Translation(dict(old), path, lines, stem or path.stem)
    refuse_unknown(work)
    work.values["kind"] = "sft"
    _name(work)
    _model(work)
    _quantization(work)
    _adapter(work)
    data.translate(work)
    _publish(work)
    _dropped(work)
    training.translate(work)
    assert not work.old, f"untranslated: {sorted(work.old)}"
    if work.problems:
        raise RecipeError(work.problems)
    check_words(work.values, path, work.origins | {(): 1})
    text = write_recipe(work.values, path.name, work.notes)
    assert parse_yaml(text, "the ported recipe")[0] == work.values
    return Ported(text, work.values, work.notes, work.files)


def known_words() -> set[str]:
    """Every key that a configuration may have."""
    fields = load_schema()["$defs"]["training-sft"]["properties"]
    ours = {"global_batch_size"}
    named = (
        *words.MODEL_WORDS,
        *words.ADAPTER_WORDS,
        *words.QUANTIZATION_WORDS,
        *words.DATA_WORDS,
        *words.PUBLISH_WORDS,
    )
    rest = (*words.NAME_WORDS, *words.RENAMED, *words.SPECIAL_WORDS, *words.DROPPED)
    return (set(fields) - ours) | set(named) | set(rest)


def refuse_unknown(work: Translation) -> None:
    """Raises with every key that neither TRL nor alignment-handbook has, each with the nearest that they have."""
    known = known_words()
    for key in work.old:
        if key in known or instead_of(key):
            continue
        if key in words.OTHER_TRAINERS:
            fix = "port translates supervised fine-tuning; this release trains pretrain and sft"
            work.fault(key, f"{key} belongs to {words.OTHER_TRAINERS[key]}", fix)
            continue
        guess = nearest(key, known)
        fix = f"did you mean {guess}?" if guess else "remove it, if it belongs to a script of your own"
        work.fault(key, f"{key} is not a key of TRL's SFT or of alignment-handbook", fix)
    if work.problems:
        raise RecipeError(work.problems)


def _name(work: Translation) -> None:
    given = [(key, work.take(key)) for key in words.NAME_WORDS if work.has(key)]
    for key, value in given:
        name = re.sub(r"[^\w.-]+", "-", Path(str(value or "")).name).strip("-.")
        if name and "name" not in work.values:
            work.values["name"] = name
            work.translated(key, f"name: {name}; the run is written to runs/{name}/")
        else:
            work.notes.append(Note("dropped", key, f"the run is named by name (was {_short(value)})"))


def _model(work: Translation) -> None:
    if not work.has("model_name_or_path"):
        work.fault("model_name_or_path", "model_name_or_path is missing", "add it")
    for key, ours in (
        ("model_name_or_path", "name_or_path"),
        ("tokenizer_name_or_path", "tokenizer"),
        ("model_revision", "revision"),
        ("torch_dtype", "dtype"),
        ("dtype", "dtype"),
        ("attn_implementation", "attn_implementation"),
        ("trust_remote_code", "trust_remote_code"),
    ):
        if not work.has(key):
            continue
        if work.old[key] is None:
            work.drop(key, "null is the default")
        else:
            work.put(
                "model", ours, training.mended(work.take(key), load_schema()["$defs"]["model"]["properties"][ours]), key
            )
            work.translated(key, f"model.{ours}")
    if work.has("use_flash_attention_2"):
        if training.is_true(work.old["use_flash_attention_2"]):
            work.put("model", "attn_implementation", "flash_attention_2", "use_flash_attention_2")
            work.translated("use_flash_attention_2", "model.attn_implementation: flash_attention_2")
            work.take("use_flash_attention_2")
        else:
            work.drop("use_flash_attention_2", "false is the default")
    if isinstance(work.old.get("model_init_kwargs"), dict):
        for key, value in work.take("model_init_kwargs").items():
            work.put("model", key, value, "model_init_kwargs")
            work.translated(f"model_init_kwargs.{key}", f"model.{key}")


def _quantization(work: Translation) -> None:
    four, eight = (training.is_true(work.old.get(key)) for key in ("load_in_4bit", "load_in_8bit"))
    for key, ours in words.QUANTIZATION_WORDS.items():
        if not work.has(key):
            continue
        if not four and not eight:
            work.drop(key, "has no effect: neither load_in_4bit nor load_in_8bit is on")
        elif work.old[key] is None or ("4bit" in ours and ours != "load_in_4bit" and not four):
            work.drop(key, "has no effect here")
        else:
            work.put("quantization", ours, training.mended(work.take(key), {"type": "boolean"}), key)
            work.translated(key, f"quantization.{ours}")
    if four:
        _four_bit_defaults(work)


def _four_bit_defaults(work: Translation) -> None:
    """TRL computes in the precision of the weights, and takes nf4 where bitsandbytes itself takes fp4."""
    section = work.values["quantization"]
    if "bnb_4bit_quant_type" not in section:
        section["bnb_4bit_quant_type"] = "nf4"
        work.added("quantization.bnb_4bit_quant_type", "nf4, TRL's default")
    dtype = work.values.get("model", {}).get("dtype")
    if dtype not in (None, "auto"):
        section["bnb_4bit_compute_dtype"] = dtype
        work.added("quantization.bnb_4bit_compute_dtype", f"{dtype}: TRL computes in the model's dtype")


def _adapter(work: Translation) -> None:
    wanted = training.is_true(work.old.get("use_peft"))
    for key, (ours, default) in words.ADAPTER_WORDS.items():
        if not wanted:
            if work.has(key):
                work.drop(key, "has no effect: use_peft is not on")
            continue
        work.values.setdefault("adapter", {"method": "lora"})
        if work.has(key) and (work.old[key] is not None or default is None):
            value = work.take(key)
            if ours == "target_modules" and isinstance(value, list) and len(value) == 1:
                value = value[0]  # as TRL does, so that [all-linear] is the word all-linear
            work.put("adapter", ours, value, key)
            work.translated(key, f"adapter.{ours}")
        elif key in words.ADAPTER_DEFAULTS:
            work.take(key)
            work.values["adapter"][ours] = default
            shown = "null, so that peft chooses by architecture" if default is None else f"{default}"
            work.added(f"adapter.{ours}", f"{shown}: TRL's default")
    if wanted:
        work.take("use_peft")
        work.translated("use_peft", "adapter.method: lora")


def _publish(work: Translation) -> None:
    private = work.has("hub_private_repo") and work.old["hub_private_repo"] is not None
    if work.old.get("hub_model_id"):
        work.put("publish", "repo_id", work.take("hub_model_id"), "hub_model_id")
        work.translated("hub_model_id", "publish.repo_id; publishing is a verb of its own: hfrecipes publish RUN")
        if private:
            work.put(
                "publish",
                "private",
                training.mended(work.take("hub_private_repo"), {"type": "boolean"}),
                "hub_private_repo",
            )
            work.translated("hub_private_repo", "publish.private")
    for key in words.PUBLISH_WORDS:
        if work.has(key):
            work.drop(key, instead_of(key) or "")


def _dropped(work: Translation) -> None:
    for key in list(work.old):
        if key in words.RENAMED or key in words.SPECIAL_WORDS:
            continue
        if reason := words.DROPPED.get(key) or instead_of(key):
            work.drop(key, reason, secret="token" in key)


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:59] + "…"
