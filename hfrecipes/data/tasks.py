"""What a row is, where the recipe says it: each task's columns, and the example that they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfrecipes.data.answers import comparison_examples, preference_examples, ranking_examples
from hfrecipes.data.cells import Cells
from hfrecipes.data.families import tag_problems
from hfrecipes.data.labels import label_name, label_names
from hfrecipes.data.messages import turn
from hfrecipes.data.templates import draw_template, template_problems
from hfrecipes.recipe.problem import Problem

Spec = dict[str, Any]
Examples = list[dict[str, Any]]

# What a row becomes where no template says it. The system message of a conversation is a turn of its own.
_PLAIN = {
    "classification": ("{{ text }}\n\n", "{{ label }}"),
    "instruction": ("{{ instruction }}{% if input %}\n\n{{ input }}{% endif %}\n\n", "{{ output }}"),
}
_PLAIN_SYSTEM = "{% if system %}{{ system }}\n\n{% endif %}"
# Words of a source that only one task reads.
_READ_BY = {"labels": ("classification",), "pairs": ("ranking", "comparison")}


def task_examples(values: dict[str, Any], spec: Spec, where: str) -> Examples:
    """The examples of a row whose source says a `task`, or has templates that read its columns.

    Args:
        values: Our name of a column -> value.
        spec: The source as the recipe names it, with nothing in it that `task_problems` finds.
        where: The row's place, for problems.

    Raises:
        RecipeError: a column that the task needs is missing, or its cell is empty or of the wrong type.
    """
    task = spec.get("task")
    cells = Cells(values, spec.get("columns") or {}, where, f"task: {task}" if task else "a template")
    return _READERS[task](cells, spec)


def task_problems(spec: Spec, where: str = "source") -> list[Problem]:
    """What is wrong with the words of a source that say what its rows are, found without a row.

    Args:
        spec: The source as the recipe names it.
        where: Its place in the recipe.
    """
    task = spec.get("task")
    problems = [
        Problem(where, f"{word}: is for task: {readers[0]}", "remove it, or correct the task")
        for word, readers in _READ_BY.items()
        if spec.get(word) is not None and task not in readers
    ]
    problems += tag_problems(spec, where)
    if spec.get("conversational") is not None and task is None and spec.get("templates") is None:
        message = "conversational: is for sources with a task or templates"
        problems.append(Problem(where, message, "remove it, or say the task"))
    if spec.get("template_seed") is not None and spec.get("templates") is None:
        problems.append(Problem(where, "template_seed: has no templates to draw from", "remove it, or add templates"))
    if task == "conversation":
        return problems + _conversation_problems(spec, where)
    return problems + _label_problems(spec.get("labels"), where) + template_problems(spec, where)


def _conversation_problems(spec: Spec, where: str) -> list[Problem]:
    problems = []
    if spec.get("templates") is not None:
        message = "templates: is not for task: conversation, which the tokenizer's chat template puts into words"
        problems.append(Problem(where, message, "remove templates"))
    if spec.get("conversational") is False:
        message = "conversational: false is not for task: conversation, which is made of turns"
        problems.append(Problem(where, message, "remove it, or take another task"))
    return problems


def _label_problems(labels: Any, where: str) -> list[Problem]:
    if labels is None:
        return []
    names = list(labels.values() if isinstance(labels, dict) else labels)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        return [Problem(where, "labels: has a name that is empty, or has none", "give each label a name")]
    if isinstance(labels, list) and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        return [Problem(where, f"labels: lists {twice!r} twice", "name each label once, or map several: {0: a, 1: a}")]
    return []


def _classification(cells: Cells, spec: Spec) -> Examples:
    label = label_name(cells, spec.get("labels"))
    words = {"text": cells.text("text"), "label": label, "system": cells.optional_text("system")}
    return _templated(cells, spec, words, {"labels": label_names(spec.get("labels"))})


def _instruction(cells: Cells, spec: Spec) -> Examples:
    words = {
        "instruction": cells.text("instruction"),
        "input": cells.optional_text("input"),
        "output": cells.text("output"),
        "system": cells.optional_text("system"),
    }
    return _templated(cells, spec, words, {})


def _any_columns(cells: Cells, spec: Spec) -> Examples:
    """Columns that no task names: only the recipe's templates read them."""
    return _templated(cells, spec, {}, {})


def _conversation(cells: Cells, spec: Spec) -> Examples:
    messages = cells.messages("messages", cells.cell("messages"))
    if all(message["role"] != "assistant" for message in messages):
        raise cells.error("messages", "has no turn of the assistant's", "remove the row, or correct its roles")
    return [{"messages": cells.with_system(messages, cells.optional_text("system"))}]


_READERS: dict[str | None, Callable[[Cells, Spec], Examples]] = {
    "classification": _classification,
    "instruction": _instruction,
    "conversation": _conversation,
    "preference": preference_examples,
    "ranking": ranking_examples,
    "comparison": comparison_examples,
    None: _any_columns,
}


def _templated(cells: Cells, spec: Spec, words: dict[str, str], declared: dict[str, Any]) -> Examples:
    """A prompt and a completion, in the words of the row's template."""
    conversational = spec.get("conversational") is not False
    if spec.get("templates") is None:
        spec = {**spec, "templates": [_plain_template(spec["task"], conversational)]}
    every = cells.present() | words | declared
    template = draw_template(spec, every, tuple(words), cells.where)
    written = template.write(every, cells.where)
    if not conversational:
        return [{"prompt": written.prompt, "completion": written.completion}]
    system = written.system or template.left_alone(words.get("system", ""))
    prompt = cells.with_system([turn("user", written.prompt)], system)
    return [{"prompt": prompt, "completion": [turn("assistant", written.completion)]}]


def _plain_template(task: str, conversational: bool) -> dict[str, str]:
    prompt, completion = _PLAIN[task]
    return {"prompt": prompt if conversational else _PLAIN_SYSTEM + prompt, "completion": completion}
