"""Examples on their way through the rules: what is on disk of them, and what the rules see."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hfrecipes.data.clean.rule import Document
from hfrecipes.data.examples import read_examples
from hfrecipes.data.formats import Example, example_texts
from hfrecipes.data.row import Row, Source
from hfrecipes.recipe.loader import Recipe
from hfrecipes.recipe.problem import Problem, RecipeError

# In the order of `example_texts`, which `with_texts` holds itself against.
_PARTS = ("messages", "prompt", "completion", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Record:
    """One example.

    Args:
        where: The place of its row.
        example: As JSON in UTF-8.
        values: The columns that rules ask for, as JSON.
        tokens: Tokens of its texts, once they were counted.
    """

    where: str
    example: bytes
    values: bytes
    tokens: int | None = None

    @property
    def document(self) -> Document:
        """What the rules see."""
        return Document(self.where, tuple(example_texts(_load(self.example))), _load(self.values))

    @property
    def found(self) -> tuple[Row, Example]:
        """As `read_examples` gives it, but that the row has only the columns that rules asked for."""
        return Row(self.where, _load(self.values)), _load(self.example)

    def with_texts(self, texts: Sequence[str]) -> Record:
        """The same example with other texts."""
        return replace(self, example=_dump(with_texts(_load(self.example), texts)))


def read_records(recipe: Recipe, role: str, index: int, source: Source, columns: Sequence[str]) -> Iterator[Record]:
    """The examples of the source at `data.<role>.<index>`.

    Raises:
        RecipeError: a row that cannot be used, or that holds what JSON does not know.
    """
    for row, example in read_examples(recipe, role, index, source):
        try:
            data = _dump(example)
        except (TypeError, ValueError) as error:
            fix = "leave the column out, or write it as text with a format: function"
            raise RecipeError(Problem(row.where, f"cannot be cleaned: {error}", fix)) from error
        values = {column: row.values[column] for column in columns if column in row.values}
        yield Record(row.where, data, _dump(values, default=str))


def with_texts(example: Example, texts: Sequence[str]) -> Example:
    """An example whose strings are replaced, in the order in which `example_texts` gives them.

    Raises:
        ValueError: they are not as many.
    """
    if len(texts) != len(example_texts(example)):
        raise ValueError(f"{len(texts)} texts for an example of {len(example_texts(example))}")
    left = iter(texts)
    if "text" in example:
        changed = {**example, "text": next(left)}
    else:
        changed = dict(example)
        parts = [name for name in _PARTS if name in example]
        for name in parts:
            if isinstance(example[name], list):
                changed[name] = [_with_content(message, left) for message in example[name]]
        for name in parts:
            if isinstance(example[name], str):
                changed[name] = next(left)
    assert example_texts(changed) == list(texts), f"examples with {', '.join(example)} are not known here"
    return changed


def _with_content(message: dict[str, Any], left: Iterator[str]) -> dict[str, Any]:
    return {**message, "content": next(left)} if isinstance(message.get("content"), str) else message


def _dump(value: Any, default: Any = None) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=default).encode(
        "utf-8", "surrogatepass"
    )


def _load(data: bytes) -> Any:
    return json.loads(data.decode("utf-8", "surrogatepass"))
