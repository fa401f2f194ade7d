"""What a method of augmentation looks like to the loop that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Task:
    """The strings of one row that may be changed.

    Args:
        texts: Each of them.
        fixed: Strings that have to stay where they occur in them, such as an answer that is looked for in a prompt.
        seed: Chooses what is changed; it follows from the recipe's seed and the row's content alone.
    """

    texts: tuple[str, ...]
    fixed: tuple[str, ...]
    seed: int


class AugmentMethod(Protocol):
    """`name` is the recipe's word. `settings` are the recipe's, with `share` and the bounds of the checks.
    `fingerprint` changes with what the copies depend on and the settings do not say: tables of words, weights of models.
    """

    name: str
    settings: Any
    # Least similarity of a copy to its row where the recipe says none.
    min_similarity: float

    @property
    def fingerprint(self) -> str: ...

    def change(self, tasks: Sequence[Task]) -> list[tuple[str, ...]]:
        """For each task its texts as the method changes them, as many as there were; equal where it found nothing."""
        ...


def pick(random: Random, items: Sequence[T]) -> T:
    """One of the items, by the part of Python's generator that is the same in all versions."""
    return items[int(random.random() * len(items))]


def shuffled(random: Random, items: Sequence[T]) -> list[T]:
    """The items in another order, as above."""
    return [item for _, _, item in sorted((random.random(), place, item) for place, item in enumerate(items))]
