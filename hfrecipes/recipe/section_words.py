"""How a word of our own sections is declared: a dataclass field that explains itself."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def words(
    help: str,
    *,
    default: Any = None,
    minimum: float | None = None,
    maximum: float | None = None,
    chosen_by: tuple[str, dict[str, type]] | None = None,
) -> Any:
    """A field with the sentence that explains it.

    Args:
        help: The sentence.
        default: The value of a field that a recipe leaves out.
        minimum: Lowest number that the field may have.
        maximum: Highest number.
        chosen_by: For a list of mappings: the key whose value says what the other keys are, and their class by that value.
    """
    facts = {"minimum": minimum, "maximum": maximum, "chosen_by": chosen_by}
    metadata = {"help": help, **{name: fact for name, fact in facts.items() if fact is not None}}
    return field(default=default, metadata=metadata)
