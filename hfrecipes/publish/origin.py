"""What a run was called and made by: its name, its command, its recipe, as they can be said anywhere."""

from __future__ import annotations

import shlex
from typing import Any

import yaml

from hfrecipes.publish.escaping import one_line
from hfrecipes.publish.naming import portable_value


def name_of(facts: dict[str, Any]) -> str:
    """The run's name on one line; `model` where it has none."""
    return one_line(facts.get("name") or "model")


def local_folder(facts: dict[str, Any]) -> str:
    """The run directory from where the run was started; that of a pipeline's step lies in the pipeline's."""
    folder = facts.get("folder")
    return one_line(portable_value(folder)) if folder and isinstance(folder, str) else f"runs/{name_of(facts)}"


def local_model_id(facts: dict[str, Any]) -> str:
    """What the snippets of an unpublished card load: the model folder, from where the run was started."""
    return f"{local_folder(facts)}/model"


def command_text(facts: dict[str, Any]) -> str | None:
    """The command of the run as it can be given elsewhere."""
    program, *arguments = portable_value(facts.get("command") or [""])
    # Launchers start the package as a module; the name of the file that Python found says nothing.
    program = "python -m hfrecipes" if program.endswith("__main__.py") else program
    return shlex.join([*program.split(), *arguments]) if program else None


def recipe_text(facts: dict[str, Any]) -> str:
    """The resolved recipe as YAML, without paths of the machine."""
    recipe = portable_value(facts.get("recipe") or {})
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=100).rstrip() if recipe else ""
