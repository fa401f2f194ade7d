"""Prompts that a policy answers: the part of a row that asks, and what of the rest the rewards can read."""

from __future__ import annotations

import json
from typing import Any

from hfrecipes.data.messages import check_cell, check_messages, kind_of, listed
from hfrecipes.recipe.problem import Problem, RecipeError

Example = dict[str, Any]

# What a row is asked with, and what a conversation is asked with that has no prompt.
_PROMPT, _MESSAGES, _TEXT = "prompt", "messages", "text"
_MEND = "correct or remove the row, or take the prompt from elsewhere with columns: or format:"
# What chat templates take beside the messages, and a rollout does not give them.
_BESIDE_MESSAGES = ("tools", "chat_template_kwargs")


def prompt_example(values: dict[str, Any], found: Example | None, where: str) -> Example:
    """The prompt of a row; all else of it goes to the rewards.

    A conversation is asked with its turns up to the last one of the user.

    Args:
        values: The row, under our names and behind its `format` function.
        found: The example that its task or its templates make of it; None where the columns alone say what it is.
        where: The row's place, for problems.

    Returns:
        `{"prompt": text or messages, "columns": the other columns}`.

    Raises:
        RecipeError: the row asks nothing.
    """
    said = values if found is None else found
    if said.get(_PROMPT) is not None:
        prompt = said[_PROMPT]
    elif said.get(_MESSAGES) is not None:
        prompt = _asked(said[_MESSAGES], where)
    else:
        raise RecipeError(Problem(where, *_no_prompt(values)))
    if fault := check_cell(_PROMPT, prompt):
        raise RecipeError(Problem(where, f"prompt {fault}", _MEND))
    for name in _BESIDE_MESSAGES:
        if values.get(name):
            fault = f"has {name}, without which the policy would be asked"
            raise RecipeError(Problem(where, fault, "write what it says into the messages with format:"))
    used = (_PROMPT, _MESSAGES) if _PROMPT not in values else (_PROMPT,)
    return {"prompt": prompt, "columns": {name: value for name, value in values.items() if name not in used}}


def dump_prompt(example: Example) -> str:
    """A prompt and its columns as one string, for a column of the prepared rows; what JSON does not know becomes text."""
    return json.dumps([example["prompt"], example["columns"]], ensure_ascii=False, default=str)


class PromptRows:
    """Prepared prompts as rows that a trainer looks up by number: `{"prompt": …, **columns}`.

    Args:
        rows: With the columns `input_ids` and `given`.
    """

    def __init__(self, rows: Any) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        prompt, columns = json.loads(self.rows[number]["given"])
        return {**columns, "prompt": prompt}


def _asked(messages: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(messages, list):
        raise RecipeError(Problem(where, f"messages is {kind_of(messages)} where a list is expected", _MEND))
    if fault := check_messages(messages):
        raise RecipeError(Problem(where, f"messages {fault}", _MEND))
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=None)
    if last is None:
        raise RecipeError(Problem(where, "has no turn of the user's to answer", _MEND))
    return messages[: last + 1]


def _no_prompt(values: dict[str, Any]) -> tuple[str, str]:
    if _TEXT in values:
        fault = "is a text, of which nothing says where the prompt ends"
        return fault, "cut it with format: module:function, which returns {'prompt': …}"
    message = f"the columns {listed(values) or '(none)'} hold no prompt"
    return message, "name yours with columns: {prompt: theirs}, say task:, or build it with format:"
