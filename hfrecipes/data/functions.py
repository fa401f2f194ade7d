"""Functions that a recipe names: found beside it or installed, and told apart by what is in their file."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from hfrecipes.data.hashing import sha256_of_files
from hfrecipes.data.messages import kind_of
from hfrecipes.recipe.problem import Problem, RecipeError


def load_function(dotted: str, folder: Path | None = None, where: str = "format") -> Callable[[dict[str, Any]], Any]:
    """The function that `package.module:function` names; a file beside the recipe comes before an installed module.

    Args:
        dotted: Its name.
        folder: The recipe's.
        where: The place that names it, for problems.

    Raises:
        RecipeError: there is no such module or function, or importing it fails.
    """
    try:
        return _load(dotted, folder)
    except RecipeError as error:
        raise RecipeError([replace(problem, where=where) for problem in error.problems]) from error.__cause__


@lru_cache(maxsize=32)
def _load(dotted: str, folder: Path | None) -> Callable[[dict[str, Any]], Any]:
    module_name, _, function_name = dotted.partition(":")
    if not module_name or not function_name:
        raise RecipeError(Problem("format", f"{dotted!r} names no function", "write it as package.module:function"))
    try:
        path = _module_file(module_name, folder)
        module = importlib.import_module(module_name) if path is None else _import_file(path, module_name)
    except (Exception, SystemExit) as error:  # a user's module can fail in any way
        message = f"{module_name} cannot be imported: {type(error).__name__}: {error}"
        raise RecipeError(Problem("format", message, "correct the name or the file")) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise RecipeError(Problem("format", f"{module_name} has no function {function_name}", "correct the name"))
    return function


def function_fingerprint(dotted: str, folder: Path | None = None, where: str = "format") -> str:
    """Changes when the file changes that holds a `format` function, so that no stale preparation is used.

    Raises:
        RecipeError: as `load_function` does.
    """
    function = load_function(dotted, folder, where)
    module = sys.modules.get(function.__module__)
    file = _module_file(dotted.partition(":")[0], folder) or Path(getattr(module, "__file__", None) or "")
    return sha256_of_files([(dotted, file)]) if file.is_file() else dotted


def apply_function(dotted: str, folder: Path | None, values: dict[str, Any], where: str) -> dict[str, Any]:
    """What a `format` function makes of a row; a string becomes the column `text`.

    Raises:
        RecipeError: the function fails, or returns neither a string nor a dictionary.
    """
    function = load_function(dotted, folder)
    try:
        result = function(dict(values))
    except (Exception, SystemExit) as error:  # a user's function can fail in any way
        message = f"{dotted} fails on this row: {type(error).__name__}: {error}"
        raise RecipeError(Problem(where, message, "correct the function or the row")) from error
    if isinstance(result, str):
        return {"text": result}
    if isinstance(result, dict):
        return result
    message = f"{dotted} returns {kind_of(result)} for this row"
    raise RecipeError(Problem(where, message, "return a str (it becomes text) or a dict of columns"))


def failure_of(function: Callable[..., Any], error: BaseException) -> str:
    """How a user's function failed, and on which line of its own file: `fails at mine.py:7: KeyError: 'a'`.

    Args:
        function: A function, or an object that is called.
        error: What it raised.
    """
    called = inspect.unwrap(function) if inspect.isroutine(function) else type(function).__call__
    file = getattr(called, "__globals__", {}).get("__file__")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f" at {Path(file).name}:{lines[-1]}" if file and lines else ""
    return f"fails{place}: {type(error).__name__}: {error}"


def _module_file(module_name: str, folder: Path | None) -> Path | None:
    path = (folder or Path()) / Path(*module_name.split(".")).with_suffix(".py")
    return path.resolve() if folder is not None and path.is_file() else None


def _import_file(path: Path, module_name: str) -> Any:
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
