"""How a list of rules falls into passes over the parts: a rule about the whole corpus ends one and begins the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from hfrecipes.data.clean.rule import CorpusRule, Rule


@dataclass(frozen=True, slots=True)
class Pass:
    """One reading and writing of every part. Rules go by their position in the list.

    Args:
        opening: The corpus rule whose decisions are applied first.
        local: The rules that judge each document by itself, in their order.
        closing: The corpus rule that sketches what these leave, and decides before the next pass.
    """

    opening: int | None
    local: tuple[int, ...]
    closing: int | None

    @property
    def judging(self) -> tuple[int, ...]:
        """All rules that judge in this pass, in their order."""
        return self.local if self.opening is None else (self.opening, *self.local)


def is_corpus_rule(rule: Rule | CorpusRule) -> TypeGuard[CorpusRule]:
    """Whether a rule has to see all documents before it judges one."""
    return hasattr(rule, "sketch")


def split_into_passes(rules: Sequence[Rule | CorpusRule]) -> list[Pass]:
    """The fewest passes that apply the rules in their order; at least one, which counts what is there."""
    passes: list[Pass] = []
    opening: int | None = None
    local: list[int] = []
    for position, rule in enumerate(rules):
        if is_corpus_rule(rule):
            passes.append(Pass(opening, tuple(local), position))
            opening, local = position, []
        else:
            local.append(position)
    return [*passes, Pass(opening, tuple(local), None)]
