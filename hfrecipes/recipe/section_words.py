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
    shape: dict[str, Any] | None = None,
) -> Any:
    """A field with the sentence that explains it.

    Args:
        help: The sentence.
        default: The value of a field that a recipe leaves out.
        minimum: Lowest number that the field may have.
        maximum: Highest number.
        chosen_by: For a list of mappings: the key whose value says what the other keys are, and their class by that value.
        shape: The schema, where the field's hint says too little.
    """
    facts = {"minimum": minimum, "maximum": maximum, "chosen_by": chosen_by, "shape": shape}
    metadata = {"help": help, **{name: fact for name, fact in facts.items() if fact is not None}}
    return field(default=default, metadata=metadata)
