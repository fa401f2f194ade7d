"""From the columns of a row to TRL's data set types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hfrecipes.data.cells import MEND, rename
from hfrecipes.data.families import TAGS, tag_of
from hfrecipes.data.functions import apply_function, function_fingerprint, load_function
from hfrecipes.data.labelled import labelled_examples
from hfrecipes.data.messages import check_cell, kind_of, listed, markup_fault, strings, usual_words
from hfrecipes.data.prompts import prompt_example
from hfrecipes.data.tasks import task_examples
from hfrecipes.recipe.problem import Problem, RecipeError

__all__ = [
    "TYPES",
    "Example",
    "example_texts",
    "function_fingerprint",
    "is_conversational",
    "load_function",
    "to_example",
    "to_examples",
]

Example = dict[str, Any]
TYPES = "text; messages; prompt and completion (strings, or lists of messages)"
# Which columns make which type, the one that is looked for first first.
_TYPE_COLUMNS = (("prompt", "completion"), ("messages",), ("text",))
_PARTS = ("messages", "prompt", "completion", "chosen", "rejected")
# The parts that are lists of such parts.
_LISTS = ("answers",)
_EXTRAS = ("tools", "chat_template_kwargs")
# Words of a template that are given by the row and the recipe, not by chat_template_kwargs.
_GIVEN_WORDS = frozenset({"messages", "tools", "add_generation_prompt", "chat_template"})


def to_examples(
    values: dict[str, Any], spec: dict[str, Any], where: str = "", folder: Path | None = None
) -> list[Example]:
    """The examples that one row makes: several where it ranks answers, one otherwise.

    `columns` renames first, then the `format` function is applied, then conversations in ShareGPT's words (`from`,
    `value`) are put into the usual ones. What the row then is, `task` or else its columns say. `tools` and
    `chat_template_kwargs` are kept, all other columns dropped.

    Args:
        values: Column -> value.
        spec: The source as the recipe names it.
        where: The row's place, for problems.
        folder: The recipe's folder, in which the file of a `format` function may lie.

    Returns:
        `{"text"}`, `{"messages"}`, `{"prompt", "completion"}`, `{"prompt", "chosen", "rejected"}` (with `margin` where the row
        says one) or, for a ranking that stays together, `{"prompt", "answers", "ranks"}`; with `group` beside for rankings, and
        with `family` and `kind` where the recipe or the row says them. Where only prompts are wanted, `{"prompt", "columns"}`;
        where answers are good or not, `{"prompt", "completion", "label"}`. No
        tokenizer reads `margin`, `ranks`, `group`, `columns`, `label`, `family` and `kind`.

    Raises:
        RecipeError: the columns make no example, or a cell is None, empty or of the wrong type.
    """
    where = where or "row"
    values = rename(values, spec.get("columns") or {}, where)
    tags = {word: tag for word in TAGS if (tag := tag_of(word, values, spec, where)) is not None}
    if spec.get("format"):
        values = apply_function(spec["format"], folder, values, where)
    values = _to_messages(values)
    if spec.get("prompts"):
        implicit = "prompt" not in values and {"chosen", "rejected"} <= values.keys()
        spec = {**spec, "task": "comparison"} if implicit and not _is_made(spec) else spec
        made = task_examples(values, spec, where)[0] if _is_made(spec) else None
        return [prompt_example(values, made, where) | tags]
    labelled = bool(spec.get("labelled"))
    if labelled and not _is_made(spec) and "completion" not in values:
        # All pairs of a ranking would repeat its answers, those in the middle as good and as bad ones.
        spec = {"pairs": "best_worst", **spec, "task": "comparison"}
    if _is_made(spec):
        examples = task_examples(values, spec, where)
    else:
        examples = [_by_columns(values, spec.get("columns") or {}, where)]
    if labelled:
        examples = labelled_examples(examples, values, where)
    beside = _extras(values, where) | tags
    return [example | beside for example in examples]


def _is_made(spec: dict[str, Any]) -> bool:
    """Whether the recipe says what rows are; else their columns do."""
    return bool(spec.get("task") or spec.get("templates"))


def to_example(values: dict[str, Any], spec: dict[str, Any], where: str = "", folder: Path | None = None) -> Example:
    """The one example that a row makes; see `to_examples`.

    Raises:
        RecipeError: as there, and where the row makes several.
    """
    examples = to_examples(values, spec, where, folder)
    if len(examples) > 1:
        message = f"makes {len(examples)} examples, of which only one can be used here"
        raise RecipeError(Problem(where or "row", message, "use pairs: best_worst, or a source that ranks nothing"))
    return examples[0]


def is_conversational(example: Example) -> bool:
    """Whether an example holds messages rather than strings."""
    return any(isinstance(example.get(name), list) for name in _PARTS)


def example_texts(example: Example) -> list[str]:
    """The strings that an example is made of, without what a chat template adds."""
    if "text" in example:
        return [example["text"]]
    parts = [example[name] for name in _PARTS if name in example]
    parts += [part for name in _LISTS for part in example.get(name, ())]
    messages = [message for part in parts if isinstance(part, list) for message in part]
    contents = [message.get("content") for message in messages]
    return [text for text in [*contents, *parts] if isinstance(text, str)]


def _by_columns(values: dict[str, Any], columns: dict[str, str], where: str) -> Example:
    names = _choose_type(values, columns, where)
    example = {name: values[name] for name in names}
    if problem := _check_cells(example):
        raise RecipeError(Problem(where, problem, MEND))
    return example


def _to_messages(values: dict[str, Any]) -> dict[str, Any]:
    """ShareGPT's `conversations` as `messages`, in every column that holds messages."""
    if "conversations" in values and "messages" not in values:
        values = {("messages" if name == "conversations" else name): value for name, value in values.items()}
    return {name: usual_words(value) if name in _PARTS else value for name, value in values.items()}


def _choose_type(values: dict[str, Any], columns: dict[str, str], where: str) -> tuple[str, ...]:
    complete = [names for names in _TYPE_COLUMNS if all(name in values for name in names)]
    mapped = [names for names in complete if any(name in columns for name in names)]
    complete = mapped or complete
    if not complete:
        message = f"the columns {listed(values) or '(none)'} make no example; an example has {TYPES}"
        fix = "name yours with columns: {ours: theirs}, say what they are with task:, or build them with format:"
        raise RecipeError(Problem(where, message, fix))
    if len(complete) > 1:
        kinds = " or ".join(" and ".join(names) for names in complete)
        message = f"the columns fit more than one type: {kinds}"
        first = complete[0][0]
        raise RecipeError(Problem(where, message, f"choose with columns:, as in {{{first}: {first}}}"))
    return complete[0]


def _check_cells(example: Example) -> str | None:
    """What is wrong with the cells of an example; None where nothing is."""
    for name, cell in example.items():
        if fault := check_cell(name, cell):
            return f"{name} {fault}"
    if len({type(cell) for cell in example.values()}) > 1:
        return "prompt and completion are of two kinds: both are strings, or both are lists of messages"
    return None


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
        return f"chat_template_kwargs is {kind_of(words)}, not a dictionary"
    if given := sorted(_GIVEN_WORDS & words.keys()):
        return f"chat_template_kwargs sets {', '.join(given)}, which the row itself gives"
    faults = ((name, markup_fault(text)) for name, cell in extras.items() for text in strings(cell))
    return next((f"{name} {fault}" for name, fault in faults if fault), None)
