"""The columns of a row under our names: renamed as the recipe says, and read so that every fault names its column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hfrecipes.data.messages import (
    Message,
    check_messages,
    check_roles,
    is_missing,
    is_visible,
    kind_of,
    listed,
    markup_fault,
    text_fault,
    turn,
    usual_words,
)
from hfrecipes.recipe.problem import Problem, RecipeError

MEND = "correct or remove the row, or take its text from elsewhere with columns: or format:"


def rename(values: dict[str, Any], columns: dict[str, str], where: str) -> dict[str, Any]:
    """A row under our names.

    Args:
        values: Column -> value.
        columns: Our name -> theirs.
        where: The row's place, for problems.

    Raises:
        RecipeError: a column that the recipe names is not there.
    """
    missing = [theirs for theirs in columns.values() if theirs not in values]
    if missing:
        message = f"there is no column {', '.join(map(repr, missing))}; the columns are {listed(values)}"
        raise RecipeError(Problem(where, message, "columns: maps our names to theirs, as in {prompt: question}"))
    rest = {name: value for name, value in values.items() if name not in columns.values()}
    return rest | {ours: values[theirs] for ours, theirs in columns.items()}


@dataclass(frozen=True, slots=True)
class Cells:
    """One row, for a task that knows which columns it needs.

    Args:
        values: Our name -> value.
        columns: Our name -> theirs, for messages.
        where: The row's place.
        task: What the row is read for.
    """

    values: dict[str, Any]
    columns: dict[str, str]
    where: str
    task: str

    def error(self, name: str, fault: str, fix: str = MEND) -> RecipeError:
        """The fault of a cell, by our name of its column and by theirs where they differ."""
        theirs = self.columns.get(name, name)
        shown = name if theirs == name else f"{name} (their column {theirs!r})"
        return RecipeError(Problem(self.where, f"{shown} {fault}", fix))

    def cell(self, name: str) -> Any:
        """A value that the task cannot do without.

        Raises:
            RecipeError: there is no such column. A missing value is returned, for the reader to refuse by type.
        """
        if name in self.values:
            return self.values[name]
        message = f"there is no column {name!r}, which {self.task} needs; the columns are {listed(self.values)}"
        raise RecipeError(Problem(self.where, message, f"name yours with columns: {{{name}: theirs}}"))

    def text(self, name: str) -> str:
        """A text that has to be there.

        Raises:
            RecipeError: it is missing, empty, no string, or no text.
        """
        value = self.cell(name)
        if not isinstance(value, str):
            raise self.error(name, f"is {kind_of(value)} where a string is expected")
        if fault := text_fault(value) or markup_fault(value):
            raise self.error(name, fault)
        return value

    def optional_text(self, name: str) -> str:
        """A text that may be missing or empty, which it then is."""
        value = self.values.get(name)
        return "" if is_missing(value) or not is_visible(str(value)) else self.text(name)

    def messages(self, name: str, value: Any) -> list[Message]:
        """Messages in the usual words.

        Args:
            name: The column, for problems.
            value: What stands there, or a part of it.

        Raises:
            RecipeError: it is no list of messages, or one of them is faulty.
        """
        messages = usual_words(value, roles=True)
        if not isinstance(messages, list):
            raise self.error(name, f"is {kind_of(value)} where a list of messages is expected")
        if fault := check_messages(messages) or check_roles(messages):
            raise self.error(name, fault)
        return messages

    def text_or_messages(self, name: str) -> str | list[Message]:
        """A text, or a list of messages, that has to be there.

        Raises:
            RecipeError: it is missing, empty, neither of the two, or faulty.
        """
        value = self.cell(name)
        if isinstance(value, list):
            return self.messages(name, value)
        if isinstance(value, str):
            return self.text(name)
        raise self.error(name, f"is {kind_of(value)} where a string or a list of messages is expected")

    def with_system(self, messages: list[Message], system: str) -> list[Message]:
        """A conversation that begins with a system message.

        Args:
            messages: The conversation.
            system: What the row's column or its template says; empty for nothing.

        Raises:
            RecipeError: the conversation begins with another system message.
        """
        if not system:
            return messages
        if messages[0]["role"] not in ("system", "developer"):
            return [turn("system", system), *messages]
        if messages[0].get("content") != system:
            fix = "keep one of the two, by removing the column from columns: or with format:"
            raise self.error("system", "says something else than the conversation's own system message", fix)
        return messages

    def present(self) -> dict[str, Any]:
        """The values that are not missing, for templates."""
        return {name: value for name, value in self.values.items() if not is_missing(value)}
