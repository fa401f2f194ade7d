"""Rewards for answers that can be right or wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from hfrecipes.evaluation.scores import NUMBER
from hfrecipes.rewards.texts import Completion, text_of

_BOXED = r"\boxed{"
_MARK = "####"
_LATEX_FRACTION = re.compile(r"(-?)\\[dt]?frac\{(-?\d+)\}\{(-?\d+)\}")
_FRACTION = re.compile(r"-?\d+/\d+")
_LAST = re.compile(rf"(?<![\w/]){_FRACTION.pattern}(?![\w/])|{NUMBER.pattern}")
# What stands around a value without changing it.
_ORNAMENT = re.compile(r"\\(?:left|right|,|;|!|\s)|\\(?:text|mathrm)\{([^{}]*)\}|[\s$]")

# Python refuses to turn longer ones into integers.
_MOST_DIGITS = 4000


@dataclass(frozen=True, slots=True)
class ExactAnswer:
    """1 where the final answer of a completion is the row's, 0 where it is another or there is none.

    The final answer is what the last `\\boxed{…}` holds; else the number behind `####`, as in GSM8K (Cobbe et al. 2021), or what
    stands behind it on the last line; else the last number. A completion that is nothing but the right answer counts too.
    Numbers and fractions are compared by value (`1,000` is `1000.0`, `\\frac{1}{2}` is `0.5`, `18 dollars` is `$18`), anything
    else by its letters, without white space and case.

    Args:
        column: The column of the data that holds the right answer: bare, or a solution that ends in a box or `####`.
    """

    column: str = "answer"
    __name__: ClassVar[str] = "exact_answer"

    def __post_init__(self) -> None:
        if not isinstance(self.column, str) or not self.column:
            raise ValueError(f"column is the name of a column, not {self.column!r}")

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """One reward for each completion; None where its row has no right answer (null).

        Raises:
            ValueError: where the data has no such column, or a row's right answer is empty.
        """
        if self.column not in columns:
            known = ", ".join(name for name, values in columns.items() if isinstance(values, list)) or "none"
            raise ValueError(f"the data has no column {self.column!r} with right answers (its columns: {known})")
        references = columns[self.column]
        return [self._score(*pair) for pair in zip(completions, references, strict=True)]

    def _score(self, completion: Completion, reference: Any) -> float | None:
        if reference is None:
            return None
        solution = str(reference)
        wanted = _marked_answer(solution) or solution
        if not _letters(wanted):
            raise ValueError(f"a row's {self.column} is empty, so nothing can be right")
        text = text_of(completion)
        found = (final_answer(text), text)
        return float(any(answer is not None and same_answer(answer, wanted) for answer in found))


def final_answer(text: str) -> str | None:
    """What a solution ends in: a boxed answer, what stands behind `####`, or the last number; None where it has neither."""
    marked = _marked_answer(text)
    if marked is not None:
        return marked
    numbers = [match.group() for match in _LAST.finditer(text)]
    return numbers[-1] if numbers else None


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are equal as numbers or, where either is none, letter by letter."""
    first, second = _value(one), _value(other)
    if first is not None and second is not None:
        return first == second
    return _letters(one) == _letters(other)


def _marked_answer(text: str) -> str | None:
    """The answer that is marked as one: in the last box; or behind `####`, which some use for headings as well."""
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed
    lines = text.rstrip().split("\n")
    marked = {number: line.partition(_MARK)[2].strip() for number, line in enumerate(lines) if _MARK in line}
    # The first: a base model goes on with the next question, and answers that too.
    number = next((answer for answer in marked.values() if _value(answer) is not None), None)
    return number or marked.get(len(lines) - 1) or None


def _last_boxed(text: str) -> str | None:
    """What the last box holds whose braces are closed."""
    start = text.rfind(_BOXED)
    while start >= 0:
        depth, begin = 1, start + len(_BOXED)
        for place in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                return text[begin:place]
        start = text.rfind(_BOXED, 0, start)
    return None


def _value(answer: str) -> Fraction | None:
    """The number that an answer is, or that it begins with and puts a unit behind; None where it is none."""
    plain = _LATEX_FRACTION.sub(r"\1\2/\3", _ORNAMENT.sub(r"\1", answer)).rstrip(".")
    if len(plain) > _MOST_DIGITS:
        return None
    if _FRACTION.fullmatch(plain):
        top, bottom = plain.split("/")
        return Fraction(int(top), int(bottom)) if int(bottom) else None
    number = NUMBER.match(plain)
    if number is None or not _is_unit(plain[number.end() :]):
        return None
    return Fraction(number.group().replace(",", ""))


def _is_unit(rest: str) -> bool:
    """`%`, `dollars`, `km`; not `x + 1`, which makes a formula of the number."""
    return rest in ("", "%", r"\%") or (len(rest) > 1 and rest.isalpha() and rest != "pi")


def _letters(answer: str) -> str:
    return _ORNAMENT.sub(r"\1", answer).rstrip(".").casefold()
