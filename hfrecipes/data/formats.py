"""From the columns of a row to one of TRL's data set types."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from hfrecipes.data.hashing import sha256_of_files
from hfrecipes.recipe.problem import Problem, RecipeError

Example = dict[str, Any]
TYPES = "text; messages; prompt and completion (strings, or lists of messages)"
# Which columns make which type, the one that is looked for first first.
_TYPE_COLUMNS = (("prompt", "completion"), ("messages",), ("text",))
_EXTRAS = ("tools", "chat_template_kwargs")
# Words of a template that are given by the row and the recipe, not by chat_template_kwargs.
_GIVEN_WORDS = frozenset({"messages", "tools", "add_generation_prompt", "chat_template"})
_MEND = "correct or remove the row, or take its text from elsewhere with columns: or format:"


def to_example(values: dict[str, Any], spec: dict[str, Any], where: str = "", folder: Path | None = None) -> Example:
    """One row as `{"text"}`, `{"messages"}` or `{"prompt", "completion"}`.

    `columns` renames first, then the `format` function is applied, then conversations in ShareGPT's words (`from`,
    `value`) are put into the usual ones. `tools` and `chat_template_kwargs` are kept, all other columns dropped.

    Args:
        values: Column -> value.
        spec: The source as the recipe names it.
        where: The row's place, for problems.
        folder: The recipe's folder, in which the file of a `format` function may lie.

    Raises:
        RecipeError: the columns make no type, or a cell is None, empty or of the wrong type.
    """
    where = where or "row"
    columns: dict[str, str] = spec.get("columns") or {}
    values = _rename(values, columns, where)
    if spec.get("format"):
        values = _apply(load_function(spec["format"], folder), values, spec["format"], where)
    values = _to_messages(values, where)
    names = _choose_type(values, columns, where)
    example = {name: values[name] for name in names} | _extras(values, where)
    problem = _check_cells({name: example[name] for name in names})
    if problem:
        raise RecipeError(Problem(where, problem, _MEND))
    return example


def is_conversational(example: Example) -> bool:
    """Whether an example holds messages rather than strings."""
    return isinstance(example.get("messages", example.get("completion")), list)


def example_texts(example: Example) -> list[str]:
    """The strings that an example is made of, without what a chat template adds."""
    if "text" in example:
        return [example["text"]]
    parts = [example[name] for name in ("messages", "prompt", "completion") if name in example]
    messages = [message for part in parts if isinstance(part, list) for message in part]
    contents = [message.get("content") for message in messages]
    return [text for text in [*contents, *parts] if isinstance(text, str)]


@lru_cache(maxsize=32)
def load_function(dotted: str, folder: Path | None = None) -> Callable[[dict[str, Any]], Any]:
    """The function that `package.module:function` names; a file beside the recipe comes before an installed module.

    Raises:
        RecipeError: there is no such module or function, or importing it fails.
    """
    module_name, _, function_name = dotted.partition(":")
    if not module_name or not function_name:
        raise RecipeError(Problem("format", f"{dotted!r} names no function", "write it as package.module:function"))
    try:
        path = _module_file(module_name, folder)
        module = importlib.import_module(module_name) if path is None else _import_file(path, module_name)
    except Exception as error:  # a user's module can fail in any way
        message = f"{module_name} cannot be imported: {type(error).__name__}: {error}"
        raise RecipeError(Problem("format", message, "correct the name or the file")) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise RecipeError(Problem("format", f"{module_name} has no function {function_name}", "correct the name"))
    return function


def function_fingerprint(dotted: str, folder: Path | None = None) -> str:
    """Changes when the file changes that holds a `format` function, so that no stale preparation is used."""
    function = load_function(dotted, folder)
    module = sys.modules.get(function.__module__)
    file = _module_file(dotted.partition(":")[0], folder) or Path(getattr(module, "__file__", None) or "")
    return sha256_of_files([(dotted, file)]) if file.is_file() else dotted


def _module_file(module_name: str, folder: Path | None) -> Path | None:
    path = (folder or Path()) / Path(*module_name.split(".")).with_suffix(".py")
    return path.resolve() if folder is not None and path.is_file() else None


def _import_file(path: Path, module_name: str) -> Any:
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rename(values: dict[str, Any], columns: dict[str, str], where: str) -> dict[str, Any]:
    missing = [theirs for theirs in columns.values() if theirs not in values]
    if missing:
        message = f"there is no column {', '.join(map(repr, missing))}; the columns are {', '.join(values)}"
        raise RecipeError(Problem(where, message, "columns: maps our names to theirs, as in {prompt: question}"))
    rest = {name: value for name, value in values.items() if name not in columns.values()}
    return rest | {ours: values[theirs] for ours, theirs in columns.items()}


def _apply(
    function: Callable[[dict[str, Any]], Any], values: dict[str, Any], dotted: str, where: str
) -> dict[str, Any]:
    try:
        result = function(dict(values))
    except (Exception, SystemExit) as error:  # a user's function can fail in any way
        message = f"{dotted} fails on this row: {type(error).__name__}: {error}"
        raise RecipeError(Problem(where, message, "correct the function or the row")) from error
    if isinstance(result, str):
        return {"text": result}
    if isinstance(result, dict):
        return result
    message = f"{dotted} returns a {type(result).__name__} for this row"
    raise RecipeError(Problem(where, message, "return a str (it becomes text) or a dict of columns"))


def _to_messages(values: dict[str, Any], where: str) -> dict[str, Any]:
    """ShareGPT's `conversations` as `messages`, in every column that holds messages."""
    if "conversations" in values and "messages" not in values:
        values = {("messages" if name == "conversations" else name): value for name, value in values.items()}
    named = ("messages", "prompt", "completion")
    return {name: _usual_words(value) if name in named else value for name, value in values.items()}


def _usual_words(cell: Any) -> Any:
    if not isinstance(cell, list) or not all(isinstance(message, dict) for message in cell):
        return cell
    words = {"from": "role", "value": "content"}
    # Arrow fills the keys that a message lacks with None; a chat template would print them.
    return [{words.get(key, key): item for key, item in message.items() if item is not None} for message in cell]


def _choose_type(values: dict[str, Any], columns: dict[str, str], where: str) -> tuple[str, ...]:
    complete = [names for names in _TYPE_COLUMNS if all(name in values for name in names)]
    mapped = [names for names in complete if any(name in columns for name in names)]
    complete = mapped or complete
    if not complete:
        message = f"the columns {', '.join(values) or '(none)'} make no example; an example has {TYPES}"
        raise RecipeError(
            Problem(where, message, "name yours with columns: {ours: theirs}, or build them with format:")
        )
    if len(complete) > 1:
        kinds = " or ".join(" and ".join(names) for names in complete)
        message = f"the columns fit more than one type: {kinds}"
        first = complete[0][0]
        raise RecipeError(Problem(where, message, f"choose with columns:, as in {{{first}: {first}}}"))
    return complete[0]


def _extras(values: dict[str, Any], where: str) -> dict[str, Any]:
    found = {name: values[name] for name in _EXTRAS if values.get(name)}
    if isinstance(found.get("tools"), str):
        try:
            found["tools"] = json.loads(found["tools"])
        except json.JSONDecodeError as error:
            fix = "write a list of function schemas"
            raise RecipeError(Problem(where, f"tools is not valid JSON: {error.msg}", fix)) from error
    fault = _extras_fault(found)
    if fault:
        raise RecipeError(Problem(where, fault, "correct or remove the column"))
    return found


def _extras_fault(extras: dict[str, Any]) -> str | None:
    """What is wrong with the columns beside the messages; None where nothing is."""
    tools, words = extras.get("tools", []), extras.get("chat_template_kwargs", {})
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return "tools is not a list of function schemas"
    if not isinstance(words, dict):
        return f"chat_template_kwargs is {_kind(words)}, not a dictionary"
    if given := sorted(_GIVEN_WORDS & words.keys()):
        return f"chat_template_kwargs sets {', '.join(given)}, which the row itself gives"
    faults = ((name, _markup_fault(text)) for name, cell in extras.items() for text in _strings(cell))
    return next((f"{name} {fault}" for name, fault in faults if fault), None)


def _check_cells(example: Example) -> str | None:
    """What is wrong with the cells of an example; None where nothing is."""
    for name, cell in example.items():
        if isinstance(cell, list) and name != "text":
            fault = _check_messages(cell)
        elif isinstance(cell, str) and name != "messages":
            fault = _text_fault(cell)
        else:
            wanted = {"text": "a string", "messages": "a list of messages"}.get(name, "a string or a list of messages")
            fault = f"is {_kind(cell)} where {wanted} is expected"
        if fault:
            return f"{name} {fault}"
    if len({type(cell) for cell in example.values()}) > 1:
        return "prompt and completion are of two kinds: both are strings, or both are lists of messages"
    return None


def _text_fault(text: str) -> str | None:
    return _surrogate_fault(text) if text.strip() else "is empty"


def _surrogate_fault(text: str) -> str | None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"holds half of a surrogate pair (character {error.start}), which is no text"
    return None


def _markup_fault(text: str) -> str | None:
    """What keeps a string out of a chat template, which joins it with marks of its own."""
    position = text.find("\x00")
    if position >= 0:
        return f"holds a NUL (character {position}), which has no place in a conversation"
    return _surrogate_fault(text)


def _strings(value: Any) -> Iterator[str]:
    """All strings in a cell, keys and nested ones included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _check_messages(messages: list[Any]) -> str | None:
    if not messages:
        return "is an empty list"
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, dict):
            return f"message {number} is {_kind(message)}, not a dictionary with role and content"
        if not isinstance(message.get("role"), str) or not message["role"]:
            return f"message {number} has no role"
        fault = _content_fault(message) or next(filter(None, map(_markup_fault, _strings(message))), None)
        if fault:
            return f"message {number} {fault}"
    return None


def _content_fault(message: dict[str, Any]) -> str | None:
    content = message.get("content")
    # A turn that only calls tools has no content of its own, nor has one that only thinks.
    silent = any(message.get(key) for key in ("tool_calls", "reasoning_content", "thinking"))
    if content is None and not silent:
        return "has no content"
    if content is not None and not isinstance(content, str | list):
        return f"has {_kind(content)} as content, not a string"
    if message["role"] == "assistant" and not silent and _says_nothing(content):
        return "is the assistant's and says nothing"
    return None


def _says_nothing(content: str | list[Any]) -> bool:
    if isinstance(content, str):
        return not content.strip()
    # A part that is no text, such as an image, says something.
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return len(texts) == len(content) and not any(isinstance(text, str) and text.strip() for text in texts)


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, float) and math.isnan(value):
        return "NaN, a missing value,"
    return f"a {type(value).__name__}"
