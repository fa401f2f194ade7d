"""Rewards for how a completion looks: its length, what it matches, what it repeats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from hfrecipes.rewards.texts import Completion, check_number, check_unit, text_of, units_of


@dataclass(frozen=True, slots=True)
class Length:
    """1 at the target length, `slope` less for each unit that a completion is longer or shorter, and never below -1.

    Args:
        target: The length that is wanted.
        slope: What a unit too many or too few costs; .01 takes 100 units from 1 to 0.
        unit: "words", "characters", or "tokens", for which the trainer has to give `completion_ids` (TRL's do).
    """

    target: int
    slope: float
    unit: str = "words"
    __name__: ClassVar[str] = "length"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        for name in ("target", "slope"):
            check_number(name, getattr(self, name))
        if not (self.target >= 0 and self.slope > 0):
            raise ValueError(f"target is at least 0 and slope above 0, not {self.target} and {self.slope}")

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
        """One reward for each completion, between -1 and 1."""
        lengths = [len(units) for units in _all_units(completions, self.unit, columns)]
        return [max(-1.0, 1.0 - self.slope * abs(length - self.target)) for length in lengths]


@dataclass(frozen=True, slots=True)
class Repetition:
    """A penalty for going round in circles: minus the share of a completion's n-grams that occurred in it before.

    0 where no n-gram comes twice, towards -1 where few come over and over; 0 for one too short to have any.

    Args:
        ngram: Length of the n-grams.
        unit: "words", "characters" (for scripts without spaces), or "tokens", for which the trainer gives `completion_ids`.
    """

    ngram: int = 3
    unit: str = "words"
    __name__: ClassVar[str] = "repetition"

    def __post_init__(self) -> None:
        check_unit(self.unit)
        if isinstance(self.ngram, bool) or not isinstance(self.ngram, int):
            raise ValueError(f"ngram is a whole number, not {self.ngram!r}")
        if self.ngram < 1:
            raise ValueError(f"ngram is at least 1, not {self.ngram}")

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
        """One penalty for each completion, above -1 and at most 0."""
        return [-self._repeated(units) for units in _all_units(completions, self.unit, columns)]

    def _repeated(self, units: Sequence[Any]) -> float:
        grams = [tuple(units[start : start + self.ngram]) for start in range(len(units) - self.ngram + 1)]
        return (len(grams) - len(set(grams))) / len(grams) if grams else 0.0


@dataclass(frozen=True, slots=True)
class RegexMatch:
    """1 where a pattern is found in a completion, else 0.

    Args:
        pattern: A regular expression of Python's `re`; flags stand inside, as in `(?s)`. Patterns with repetitions inside
            repetitions can take for ever on a completion that nearly fits.
        whole: Whether it has to fit the completion from the first to the last character.
    """

    pattern: str
    whole: bool = False
    __name__: ClassVar[str] = "regex_match"

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str):
            raise ValueError(f"pattern is a text, not {self.pattern!r}")
        if not isinstance(self.whole, bool):
            raise ValueError(f"whole is true or false, not {self.whole!r}")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression: {error}") from None

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
        """One reward for each completion, 0 or 1."""
        expression = re.compile(self.pattern)
        find = expression.fullmatch if self.whole else expression.search
        return [float(find(text_of(completion)) is not None) for completion in completions]


@dataclass(frozen=True, slots=True)
class Format:
    """1 where a completion consists of these tags, each once, in this order, with something in them and nothing between, else 0.

    With the default: `<think> … </think> <answer> … </answer>`.

    Args:
        tags: Names of the tags.
    """

    tags: Sequence[str] = ("think", "answer")
    __name__: ClassVar[str] = "format"

    def __post_init__(self) -> None:
        named = isinstance(self.tags, list | tuple) and all(isinstance(tag, str) and tag for tag in self.tags)
        if not named or not self.tags or len(set(self.tags)) < len(self.tags):
            raise ValueError(f"tags are a list of names, each once, not {self.tags!r}")

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float]:
        """One reward for each completion, 0 or 1."""
        return [float(self._fits(text_of(completion))) for completion in completions]

    def _fits(self, text: str) -> bool:
        for tag in self.tags:
            begin, end = f"<{tag}>", f"</{tag}>"
            text = text.lstrip()
            if not text.startswith(begin):
                return False
            inside, closed, text = text.removeprefix(begin).partition(end)
            if not closed or not inside.strip() or any(mark in inside for mark in self._marks()):
                return False
        return not text.strip()

    def _marks(self) -> list[str]:
        return [f"<{slash}{tag}>" for tag in self.tags for slash in ("", "/")]


def _all_units(completions: Sequence[Completion], unit: str, columns: dict[str, Any]) -> list[Sequence[Any]]:
    ids = columns.get("completion_ids") or [None] * len(completions)
    return [units_of(completion, unit, own) for completion, own in zip(completions, ids, strict=True)]
