"""From a file and overrides to a recipe whose every word is known, or to all that is wrong with it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hfrecipes.recipe.catalogue import expand
from hfrecipes.recipe.problem import Problem, RecipeError
from hfrecipes.recipe.schema import load_schema
from hfrecipes.recipe.secrets import find_secrets
from hfrecipes.recipe.sections import KINDS
from hfrecipes.recipe.shipped import shipped_recipes
from hfrecipes.recipe.source_list import ROLES, as_read, sources_of, without_held_out, without_mixing
from hfrecipes.recipe.validate import nearest, validate
from hfrecipes.recipe.yaml_reader import Keys, dotted, parse_yaml, read_yaml

_NO_SECRETS = "take it out: a token comes from the environment (HF_TOKEN) or `hf auth login`, never from a recipe"
# Longer names are refused by most file systems, less what is put before and behind them.
_LONGEST_NAME = 200
# Digits of the index of a list's item.
_LONGEST_INDEX = 9
# Windows opens a device under these names, whatever their case and ending, and drops dots and spaces at the end.
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}


@dataclass(frozen=True)
class Recipe:
    """A recipe whose words have been checked.

    Args:
        kind: Which stage runs it.
        name: Name of the run; its folder is `runs/<name>/`.
        path: The file it was read from.
        values: The recipe as nested dicts and lists, overrides applied; defaults are not filled in.
        lines: The line of each value, by its keys.
        overrides: The text of the override that set a value, by its keys.
        unchecked: What the schema could not judge.
    """

    kind: str
    name: str
    path: Path
    values: dict[str, Any]
    lines: dict[Keys, int] = field(default_factory=dict, repr=False)
    overrides: dict[Keys, str] = field(default_factory=dict, repr=False)
    unchecked: tuple[Problem, ...] = ()

    def get(self, key: str, default: Any = None) -> Any:
        """The value at a dotted key; `default` where it is absent or null. List items go by their index."""
        value: Any = self.values
        for part in key.split("."):
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and _is_number(part) and int(part) < len(value):
                value = value[int(part)]
            else:
                return default
        return default if value is None else value

    def sources(self, role: str) -> list[tuple[str, dict[str, Any]]]:
        """The dotted key of each source of a role (`data.train.0`, `data.mixture.sources.web`), and how it is said."""
        found = sources_of(self.values, role)
        read = ((keys, as_read(self.kind, without_mixing(spec))) for keys, spec in found)
        return [(dotted(keys), without_held_out(self.values, role, spec)) for keys, spec in read]

    def where(self, key: str = "") -> str:
        """Where a dotted key was said: `my.yaml:12`, `override a.b=c`, or the nearest place above it."""
        return locate(split_key(key), self.path, self.lines, self.overrides)

    def replace(self, **sections: Any) -> Recipe:
        """A copy with whole sections (or `name`) replaced; words are not checked again."""
        values = {**copy.deepcopy(self.values), **sections}
        return dataclasses.replace(self, name=values.get("name") or self.name, values=values)

    def find_file(self, path: str) -> Path:
        """A local path of the recipe: beside the recipe, else from the working directory; as given where neither has it."""
        given = Path(path).expanduser()
        beside = self.path.parent / given
        return beside if not given.is_absolute() and beside.exists() else given


def load_recipe(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, applies `key=value` overrides and checks every word.

    Args:
        path_or_name: A YAML file, or the name of a shipped recipe (`sft/qwen3-0.6b-qlora`).
        overrides: As on the command line: `training.learning_rate=1e-4`, `data.train.0.limit=100`.

    Raises:
        RecipeError: with every problem of words at once.
    """
    return check_words(*read_recipe(path_or_name, overrides))


def read_recipe(
    path_or_name: str | Path, overrides: Sequence[str] = ()
) -> tuple[dict[str, Any], Path, dict[Keys, int], dict[Keys, str]]:
    """The values of a recipe with its overrides, none of them checked; its file, their lines, and what the overrides set.

    Raises:
        RecipeError: where there is no such recipe, it is no YAML, or an override leads nowhere.
    """
    path = find_recipe(path_or_name)
    values, lines = read_yaml(path)
    if not isinstance(values, dict):
        raise RecipeError(Problem(str(path), "holds no recipe", "begin with kind: pretrain, sft or pipeline"))
    said = apply_overrides(values, overrides)
    return values, path, lines, said


def check_words(
    values: dict[str, Any], path: Path, lines: dict[Keys, int] | None = None, said: dict[Keys, str] | None = None
) -> Recipe:
    """Checks the words of a recipe that is at hand as plain values.

    Raises:
        RecipeError: with every problem of words at once.
    """
    lines, said = lines or {}, said or {}

    def where(keys: Keys) -> str:
        return locate(keys, path, lines, said)

    # Before anything else looks at the values: what is quoted and cut short could no longer be told for a secret.
    if secrets := _secret_problems(values, where):
        raise RecipeError(secrets)
    kind = values.get("kind")
    if kind not in KINDS:
        guess = nearest(str(kind), KINDS) if kind else None
        fix = f"did you mean {guess}?" if guess else f"it is one of {', '.join(KINDS)}"
        fault = f"kind is {kind!r}, which it cannot be" if kind else "kind is missing"
        raise RecipeError(Problem(where(("kind",)), fault, fix))
    problems = schema_problems(values, where)
    if any(problem.severity == "error" for problem in problems):
        raise RecipeError([problem for problem in problems if problem.severity == "error"])
    name = values.get("name") or path.stem
    if problem := _name_problem(name, where):
        raise RecipeError(problem)
    _name_sources(values, where)
    return Recipe(kind, name, path, values, lines, said, tuple(problems))


def schema_problems(values: dict[str, Any], where: Callable[[Keys], str]) -> list[Problem]:
    """The words of a recipe held against the schema of its kind.

    Args:
        values: With a `kind` that there is.
        where: From keys to a place that the user can open.
    """
    schema = load_schema()
    problems = validate(values, {"$ref": f"#/$defs/{values['kind']}"}, schema, where)
    return problems + _scheduler_problems(values, schema, where)


def _name_sources(values: dict[str, Any], where: Callable[[Keys], str]) -> None:
    """Puts the Hub's words in place of names from the catalogue, so that nothing that comes later has to know it.

    Raises:
        RecipeError: with every name that is nearly one of the catalogue.
    """
    problems = []
    for keys, spec in [found for role in ROLES for found in sources_of(values, role)]:
        try:
            set_value(values, keys, expand(spec, where((*keys, "name"))))
        except RecipeError as error:
            problems += error.problems
    if problems:
        raise RecipeError(problems)


def find_recipe(path_or_name: str | Path) -> Path:
    """The file of a recipe.

    Raises:
        RecipeError: where there is neither such a file nor a shipped recipe of that name.
    """
    path = Path(path_or_name).expanduser()
    with contextlib.suppress(OSError):  # a name too long for the file system is no file
        if path.is_file():
            return path
    shipped = shipped_recipes()
    if str(path_or_name) in shipped:
        return shipped[str(path_or_name)]
    guess = nearest(str(path_or_name), shipped)
    fix = f"did you mean {guess}?" if guess else "hfrecipes ls shows the shipped recipes"
    raise RecipeError(Problem(str(path_or_name), "is neither a file nor a shipped recipe", fix))


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[Keys, str]:
    """Sets `key=value` overrides in `values`.

    Returns:
        The text of each override by the keys that it set.

    Raises:
        RecipeError: for an override that is not `key=value`, or whose key leads through something that holds no keys.
    """
    said: dict[Keys, str] = {}
    for text in overrides:
        key, equals, written = text.partition("=")
        keys = _of_step(split_key(key.strip()))
        if not equals or not all(key.strip().split(".")):
            raise RecipeError(Problem(f"override {text}", "is not key=value", "write it like training.max_steps=10"))
        value, _ = parse_yaml(written, f"override {text}")
        try:
            set_value(values, keys, value)
        except (TypeError, IndexError, ValueError):
            fault = f"{key} leads nowhere: what stands above it holds no such key"
            raise RecipeError(Problem(f"override {text}", fault, "list items go by their number, from 0")) from None
        said[keys] = text
    return said


def _of_step(keys: Keys) -> Keys:
    """A key of a step's `with:` is a dotted one: `steps.0.with.training.max_steps` leaves the rest of the section alone."""
    if not keys or keys[0] != "steps" or "with" not in keys[:-1]:
        return keys
    below = keys.index("with") + 1
    return (*keys[:below], ".".join(map(str, keys[below:])))


def split_key(key: str) -> Keys:
    """`data.train.0.name` as keys; numbers are indices of lists."""
    return tuple(int(part) if _is_number(part) else part for part in key.split(".") if part)


def _is_number(part: str) -> bool:
    """Whether a part of a key can be the index of a list; `²` is a digit to Python, and no number."""
    return part.isascii() and part.isdigit() and len(part) <= _LONGEST_INDEX


def locate(keys: Keys, path: Path, lines: dict[Keys, int], said: dict[Keys, str]) -> str:
    """The place of the innermost part of `keys` that was said somewhere; lines below an override are of what it replaced."""
    for end in range(len(keys), -1, -1):
        if keys[:end] in said:
            return f"override {said[keys[:end]]}"
    for end in range(len(keys), -1, -1):
        if keys[:end] in lines:
            return f"{path}:{lines[keys[:end]]}"
    return str(path)


def set_value(values: Any, keys: Keys, value: Any) -> None:
    """Sets a value in nested dicts and lists; mappings on the way are made, list items must exist.

    Raises:
        TypeError: where a scalar stands in the way.
        IndexError: for a list item that there is not.
    """
    for position, key in enumerate(keys[:-1]):
        if isinstance(values, list):
            values = values[_index(values, key)]
            continue
        if not isinstance(values, dict):
            raise TypeError(f"{dotted(keys[: position + 1])} holds no keys")
        if values.get(str(key)) is None:
            values[str(key)] = {}
        values = values[str(key)]
    if isinstance(values, list):
        values[_index(values, keys[-1])] = value
    elif isinstance(values, dict):
        values[str(keys[-1])] = value
    else:
        raise TypeError(f"{dotted(keys[:-1])} holds no keys")


def _index(values: list[Any], key: str | int) -> int:
    if not isinstance(key, int) or key >= len(values):
        raise IndexError(key)
    return key


def _scheduler_problems(values: dict[str, Any], schema: dict[str, Any], where: Any) -> list[Problem]:
    training = values.get("training")
    if not isinstance(training, dict) or not isinstance(training.get("lr_scheduler_kwargs"), dict):
        return []
    name = training.get("lr_scheduler_type", "linear")
    words = schema["$defs"]["schedulers"].get(name) if isinstance(name, str) else None
    return (
        validate(training["lr_scheduler_kwargs"], words, schema, where, ("training", "lr_scheduler_kwargs"))
        if words
        else []
    )


def _secret_problems(value: Any, where: Any, keys: Keys = ()) -> list[Problem]:
    """A token in a recipe would end up in run directories and uploads, so it is refused wherever it stands."""
    if isinstance(value, str):
        return _secrets_in(value, where, keys)
    if not isinstance(value, dict | list):
        return []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    problems = []
    for key, item in items:
        here = (*keys, key)
        problems += _secrets_in(str(key), where, here) + _secret_problems(item, where, here)
    return problems


def _secrets_in(text: str, where: Any, keys: Keys) -> list[Problem]:
    kinds = dict.fromkeys(kind for _, kind in find_secrets(text))
    return [
        Problem(where(keys), f"{dotted(keys)} holds what looks like {kind}, not shown here", _NO_SECRETS)
        for kind in kinds
    ]


def _name_problem(name: Any, where: Any) -> Problem | None:
    if isinstance(name, str) and _names_a_folder(name) and not find_secrets(name):
        return None
    fix = "it names a folder: letters, digits, - and _, no dot before them, and no name that Windows keeps for a device"
    return Problem(where(("name",)), f"name is {name!r}", fix)


def _names_a_folder(name: str) -> bool:
    """Whether a name means one folder below the one it is joined to, on every system."""
    plain = name not in ("", ".", "..") and not set(name) & set('/\\:*?"<>|\0') and name.isprintable()
    # Hidden names are those of what is beside a run: its lock, and an earlier run on its way out.
    whole = name == name.strip().rstrip(".") and name[:1] not in "-." and len(name.encode()) <= _LONGEST_NAME
    return plain and whole and name.split(".")[0].rstrip().upper() not in _DEVICES
