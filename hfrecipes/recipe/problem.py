"""What is wrong with a recipe or its data: where, what, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "unchecked"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding, phrased for the person who has to act on it.

    Args:
        where: A place that an editor can open (`my.yaml:12`, `train.jsonl:7`) or the override that said it.
        message: The fault, naming the offending key, column, row or value.
        fix: The mend, as an instruction. Empty where the message already holds it.
        severity: `error` stops a run, `warning` does not, `unchecked` says what could not be looked at and why.

    What it quotes of the user's words or of a library's error is printed, logged and kept, so secrets are taken out of it,
    and what a terminal would obey is made visible.
    """

    where: str
    message: str
    fix: str = ""
    severity: Severity = "error"

    def __post_init__(self) -> None:
        # The command line imports this file, and has no problem most of the time.
        from hfrecipes.recipe.secrets import redact
        from hfrecipes.recipe.visible import visible

        for name in ("where", "message", "fix"):
            object.__setattr__(self, name, visible(redact(getattr(self, name))))

    def __str__(self) -> str:
        mend = f" ({self.fix})" if self.fix else ""
        return f"{self.where}: {self.severity}: {self.message}{mend}"


class RecipeError(ValueError):
    """A recipe, or data it names, that cannot be run. Holds every problem found, not only the first."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[RecipeError], tuple[list[Problem]]]:
        # Exceptions are otherwise made anew from their text, which worker processes could then not send.
        return type(self), (self.problems,)
